"""The one type that captions and images become."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Frozen features of a batch of captions or images, L2-normalised over ``D``.

    A caption's local positions are its tokens, from SOS to EOS; an image's are its cells or
    patches. What comes after an encoder does not know which of the two it sees.
    """

    global_: Tensor  # (B, D)
    local: Tensor  # (B, N, D)
    mask: Tensor  # (B, N) bool, True = a real position, False = padding

    def __len__(self) -> int:
        return len(self.global_)

    def __getitem__(self, index: slice | Tensor) -> Features:
        """The samples at ``index``, still padded to ``N``."""
        return Features(self.global_[index], self.local[index], self.mask[index])

    def to(self, device: torch.device | str) -> Features:
        return Features(self.global_.to(device), self.local.to(device), self.mask.to(device))

    @staticmethod
    def cat(parts: list[Features]) -> Features:
        """Join batches, padding the shorter local axes."""
        longest = max(p.local.shape[1] for p in parts)
        return Features(
            torch.cat([p.global_ for p in parts]),
            torch.cat([_pad(p.local, longest) for p in parts]),
            torch.cat([_pad(p.mask, longest) for p in parts]),
        )


def _pad(values: Tensor, length: int) -> Tensor:
    """Fill axis 1 with zeros (False) up to ``length``."""
    missing = length - values.shape[1]
    if not missing:
        return values
    filler = values.new_zeros(len(values), missing, *values.shape[2:])
    return torch.cat([values, filler], dim=1)
