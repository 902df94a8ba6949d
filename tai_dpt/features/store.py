"""Reading stored features in random batches.

A store keeps every item's local features as consecutive rows of one flat array, cut into
shards, so a batch of ragged items is index arithmetic and one gather per shard; only the rows
asked for are touched. Captions keep their global feature as their last local row (EOS), so it is
not stored twice.

Rows are returned as they were stored. Half precision rounds each element by at most 2⁻¹¹ of
itself, so a row's norm stays within 2⁻¹¹ of 1 (5e-4; in practice about 1e-5) and normalising again
would move the numbers without bringing back what rounding took. "int8" takes half the room and
rounds to 1/127 of a row's largest element; what that costs is in benchmarks/RESULTS.md, "scale".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tai_dpt.features.encode import Encoder
from tai_dpt.features.packed import PackedFeatures, row_numbers, row_offsets
from tai_dpt.features.precisions import PRECISIONS, Precision
from tai_dpt.features.shards import KeyValue, ShardFolder
from tai_dpt.features.types import Features

Indices = Sequence[int] | np.ndarray | Tensor


class FeatureStore:
    """The features of ``N`` captions or images, read by index.

    Made by ``StorePlan.open`` or ``FeatureStore.open``; held in memory-mapped shards or in memory,
    which makes no difference to a reader. ``OnDemandStore`` reads the same way and stores nothing.
    """

    def __init__(
        self,
        *,
        lengths: Tensor,  # (N,) int64
        local: Sequence[Tensor],  # per shard, (rows, D)
        global_: Sequence[Tensor] | None,  # per shard, (items, D); None: the last local row
        embed_dim: int,
        precision: Precision,
        directory: Path | None = None,
    ) -> None:
        self.lengths = lengths
        self.embed_dim = embed_dim
        self.precision = precision
        self.directory = directory
        self._offsets = row_offsets(lengths)  # (N + 1,)
        width = precision.width(embed_dim)
        self._local = _Rows(local, width, precision.dtype)
        self._global = None if global_ is None else _Rows(global_, width, precision.dtype)

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike[str],
        *,
        key: Mapping[str, KeyValue] | None = None,
        verify: bool = False,
    ) -> FeatureStore:
        """Open a finished store for reading; nothing is written or made.

        ``key``, if given, must be the one the store was built with. Every shard's size and header
        are checked; its checksum too where the file was touched since it was written, or with
        ``verify``.

        Raises:
            InputError: no store there, other features than ``key`` says, a shard missing or
                damaged; the message names which.
        """
        folder = ShardFolder.read(Path(directory))
        if key is not None:
            folder.layout.require_key(key, folder.path)
        folder.require_all(verify=verify)
        return cls.of_folder(folder)

    @classmethod
    def of_folder(cls, folder: ShardFolder) -> FeatureStore:
        """Map every shard of a folder whose shards have been checked."""
        layout = folder.layout
        mapped = [folder.map(shard) for shard in range(layout.shard_count)]
        return cls(
            lengths=layout.lengths,
            local=[local for local, _ in mapped],
            global_=None if layout.global_is_last else [own for _, own in mapped],
            embed_dim=layout.embed_dim,
            precision=PRECISIONS[layout.precision],
            directory=folder.path,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # A spawned data-loading worker opens the shards itself instead of receiving their bytes.
        if self.directory is not None:
            return FeatureStore.open, (self.directory,)
        return super().__reduce__()

    @property
    def nbytes(self) -> int:
        """Bytes of the stored rows."""
        return self._local.nbytes + (self._global.nbytes if self._global else 0)

    def packed(self, indices: Indices, *, dtype: torch.dtype = torch.float32) -> PackedFeatures:
        """The items at ``indices``, in that order (repeats allowed), without padding."""
        chosen = self._check(indices)
        lengths = self.lengths[chosen]  # (B,)
        local = self._local.gather(row_numbers(self._offsets[chosen], lengths))  # (T, D)
        if self._global is None:
            global_ = local.index_select(0, lengths.cumsum(0) - 1)  # (B, D)
        else:
            global_ = self._global.gather(chosen)
        read = self.precision.read
        return PackedFeatures(read(global_, dtype), read(local, dtype), lengths)

    def batch(self, indices: Indices) -> Features:
        """The items at ``indices`` in fp32, padded to the longest of them."""
        return self.packed(indices).padded()

    def global_features(self, indices: Indices) -> Tensor:
        """The global features at ``indices`` alone, fp32, (B, D): no local row is read."""
        chosen = self._check(indices)
        if self._global is None:
            rows = self._local.gather(self._offsets[chosen + 1] - 1)
        else:
            rows = self._global.gather(chosen)
        return self.precision.read(rows, torch.float32)

    def _check(self, indices: Indices) -> Tensor:
        chosen = torch.as_tensor(indices)
        if not chosen.numel():
            chosen = chosen.to(torch.int64)
        if chosen.dim() != 1 or chosen.is_floating_point() or chosen.dtype == torch.bool:
            raise TypeError(f"indices must be one row of integers, not {chosen.dtype}")
        outside = chosen[(chosen < 0) | (chosen >= len(self))]
        if outside.numel():
            raise IndexError(f"item {int(outside[0])} is outside a store of {len(self)} items")
        return chosen.to(torch.int64)


class OnDemandStore(FeatureStore):
    """Reads like ``FeatureStore`` but encodes whatever is asked for, each time it is asked for.

    Values are rounded to ``precision`` as a stored one's are, so that caching changes no number.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        lengths: Tensor,
        precision: Precision,
    ) -> None:
        super().__init__(
            lengths=lengths,
            local=[],
            global_=None,
            embed_dim=encoder.embed_dim,
            precision=precision,
        )
        self._encoder = encoder

    def packed(self, indices: Indices, *, dtype: torch.dtype = torch.float32) -> PackedFeatures:
        chosen = self._check(indices)
        local, own = self._encoder.encode_items(chosen, self.lengths, self.precision)
        lengths = self.lengths[chosen]
        global_ = local.index_select(0, lengths.cumsum(0) - 1) if own is None else own
        read = self.precision.read
        return PackedFeatures(read(global_, dtype), read(local, dtype), lengths)

    def global_features(self, indices: Indices) -> Tensor:
        return self.packed(indices).global_


class _Rows:
    """One (T, D) array cut into shards along its first axis."""

    def __init__(self, parts: Sequence[Tensor], width: int, dtype: torch.dtype) -> None:
        self._parts = list(parts)
        self._empty = torch.empty(0, width, dtype=dtype)
        self._firsts = row_offsets(torch.tensor([len(p) for p in parts], dtype=torch.int64))

    @property
    def nbytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self._parts)

    def gather(self, rows: Tensor) -> Tensor:
        """The given rows, in that order.  ``(T,) -> (T, D)``"""
        if not len(rows):
            return self._empty
        if len(self._parts) == 1:
            return self._parts[0].index_select(0, rows)
        # One gather per shard, in the shard's order, then one permutation. torch.index_select was
        # the quickest of those measured (numpy's fancy indexing, a copy per item, index_copy_).
        order = None
        if (rows[1:] < rows[:-1]).any():
            rows, order = torch.sort(rows)
        found = self._empty.new_empty(len(rows), self._empty.shape[1])
        cuts = torch.searchsorted(rows, self._firsts).tolist()
        for part, first, start, stop in zip(
            self._parts, self._firsts[:-1].tolist(), cuts[:-1], cuts[1:], strict=True
        ):
            if stop > start:
                torch.index_select(part, 0, rows[start:stop] - first, out=found[start:stop])
        return found if order is None else found.index_select(0, torch.argsort(order))
