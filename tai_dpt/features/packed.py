"""Ragged features without padding, and the row arithmetic they share with the store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tai_dpt.features.types import Features


@dataclass(frozen=True)
class PackedFeatures:
    """The features of a batch, local positions laid end to end: what ``Features`` pads.

    Sample ``b`` owns ``lengths[b]`` consecutive rows of ``local``, in the order of the batch.
    """

    global_: Tensor  # (B, D)
    local: Tensor  # (T, D), T = lengths.sum()
    lengths: Tensor  # (B,) int64; of stored ones on the CPU: what is counted there awaits no GPU

    def __len__(self) -> int:
        return len(self.global_)

    @staticmethod
    def of(features: Features | PackedFeatures) -> PackedFeatures:
        """Drop the padding of ``features``; packed ones are returned as they are."""
        if isinstance(features, PackedFeatures):
            return features
        lengths = features.mask.sum(dim=1)
        if features.mask.all():
            return PackedFeatures(features.global_, features.local.flatten(0, 1), lengths)
        return PackedFeatures(features.global_, features.local[features.mask], lengths)

    @cached_property
    def longest(self) -> int:
        """``N``, the most local positions that a sample has."""
        return int(self.lengths.max()) if len(self) else 0

    @cached_property
    def mask(self) -> Tensor:
        """Which positions are real once padded to the longest sample, (B, N)."""
        lengths = self.lengths.to(self.local.device, non_blocking=True)
        return torch.arange(self.longest, device=lengths.device) < lengths[:, None]

    def pad(self, rows: Tensor) -> Tensor:
        """Values of the local rows (T, …), padded with zeros to (B, N, …); differentiable."""
        batch, longest = len(self), self.longest
        if len(rows) == batch * longest:
            return rows.view(batch, longest, *rows.shape[1:])
        firsts = torch.arange(batch, device=self.lengths.device) * longest
        target = row_numbers(firsts, self.lengths).to(rows.device, non_blocking=True)
        padded = rows.new_zeros(batch * longest, *rows.shape[1:]).index_copy(0, target, rows)
        return padded.view(batch, longest, *rows.shape[1:])

    def padded(self) -> Features:
        """The same features as ``Features``, padded with zeros to the longest of the batch."""
        return Features(self.global_, self.pad(self.local), self.mask)

    def to(self, device: torch.device | str) -> PackedFeatures:
        """On ``device``, but for the lengths; to CUDA by the way, while the CPU goes on."""
        return PackedFeatures(
            to_device(self.global_, device), to_device(self.local, device), self.lengths
        )


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """``values`` on ``device``; from the CPU to CUDA by pinned memory, which is not waited for."""
    if torch.device(device).type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


AnyFeatures = Features | PackedFeatures


def row_numbers(firsts: Tensor, lengths: Tensor) -> Tensor:
    """The rows ``first … first + length − 1`` of every item, joined.  ``(B,), (B,) -> (T,)``

    >>> row_numbers(torch.tensor([5, 0]), torch.tensor([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    shifts = torch.repeat_interleave(firsts - (ends - lengths), lengths, output_size=total)
    return shifts + torch.arange(total, device=firsts.device)


def row_offsets(lengths: Tensor) -> Tensor:
    """Where each item's rows begin in a flat array, and its end.  ``(N,) -> (N + 1,)``"""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
