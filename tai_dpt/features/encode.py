"""Running a frozen encoder over many items, in batches of similar length."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.features.packed import PackedFeatures, row_numbers, row_offsets
from tai_dpt.features.precisions import Precision
from tai_dpt.features.types import Features

Encode = Callable[[Any], Features | PackedFeatures]
Load = Callable[[Sequence[list[int]]], Iterable[Any]]


def plan_batches(lengths: Tensor, *, batch_rows: int, batch_items: int) -> list[list[int]]:
    """Cut items into batches of similar length.  ``(N,) -> batches of positions 0 … N − 1``

    Longest first, so that a batch too large for memory fails at once and not in the end. No batch
    has more than ``batch_items`` items or, padded, ``batch_rows`` rows (one item always fits). A
    batch of a quarter of that is enough to keep an encoder busy, so from there on it ends where
    the length changes: on caption lengths that leaves a fifth of the padding of full batches.
    """
    ordered = torch.sort(lengths, descending=True, stable=True)
    positions, sizes = ordered.indices.tolist(), ordered.values.tolist()
    changes = (ordered.values.diff().nonzero().flatten() + 1).tolist()
    batches, start = [], 0
    while start < len(positions):
        most = max(1, min(batch_items, batch_rows // sizes[start]))
        change = bisect_left(changes, start + max(1, most // 4))
        end = start + most
        if change < len(changes):
            end = min(end, changes[change])
        batches.append(positions[start:end])
        start = end
    return batches


class Encoder:
    """A caller's frozen encoder, with its results checked.

    Args:
        encode: gives the features of one batch, from what ``load`` yields for it; without
            ``load``, from the batch's item indices.
        load: given every batch of indices to come, yields the input of each in turn. A
            ``DataLoader(..., batch_sampler=batches, num_workers=...)`` is one: it reads and
            transforms files ahead while the encoder works.
        embed_dim: ``D``.
        global_is_last: an item's global feature is its last local one (captions).
        batch_rows, batch_items: limits of a batch, see ``plan_batches``.
    """

    def __init__(
        self,
        *,
        encode: Encode,
        load: Load | None,
        embed_dim: int,
        global_is_last: bool,
        batch_rows: int,
        batch_items: int,
    ) -> None:
        if batch_rows < 1 or batch_items < 1:
            raise InputError("batch_rows and batch_items must be at least 1")
        self.encode = encode
        self.load = load
        self.embed_dim = embed_dim
        self.global_is_last = global_is_last
        self.batch_rows = batch_rows
        self.batch_items = batch_items

    def run(self, batches: Sequence[list[int]], lengths: Tensor | None) -> Iterator[PackedFeatures]:
        """The features of each batch of item indices, packed, in the encoder's precision.

        Raises:
            InputError: a result is not what ``lengths`` (of every item) and the arguments of this
                class say, or not normalised; the message names the item.
        """
        inputs = iter(batches if self.load is None else self.load(batches))
        for number, batch in enumerate(batches):
            try:
                given = next(inputs)
            except StopIteration:
                raise InputError(
                    f"load yielded {number} inputs for {len(batches)} batches of items"
                ) from None
            with torch.no_grad():
                features = PackedFeatures.of(self.encode(given))
                self._check(features, batch, lengths)
            yield features

    def plan(self, items: Tensor, lengths: Tensor) -> tuple[list[list[int]], list[list[int]]]:
        """Batches over ``items``: as positions in ``items``, and as item indices."""
        limits = {"batch_rows": self.batch_rows, "batch_items": self.batch_items}
        positions = plan_batches(lengths[items], **limits)
        return positions, [items[batch].tolist() for batch in positions]

    def encode_items(
        self, items: Tensor, lengths: Tensor, precision: Precision
    ) -> tuple[Tensor, Tensor | None]:
        """Encode ``items`` now: stored local rows in their order, and the global ones if kept
        apart."""
        positions, batches = self.plan(items, lengths)
        target = Target(lengths[items], self, precision)
        for batch, features in zip(positions, self.run(batches, lengths), strict=True):
            target.put(batch, features)
        return target.local, target.global_

    def length_of_first(self) -> int:
        """Encode item 0 to learn how many local features every item has."""
        return len(next(self.run([[0]], None)).local)

    def _check(self, features: PackedFeatures, batch: list[int], lengths: Tensor | None) -> None:
        if len(features) != len(batch):
            raise InputError(f"the encoder gave {len(features)} items for {len(batch)}")
        for rows in (features.local, features.global_):
            if rows.dim() != 2 or rows.shape[1] != self.embed_dim:
                raise InputError(
                    f"the encoder gave rows of shape {tuple(rows.shape)}, not (…, {self.embed_dim})"
                )
        given = features.lengths.cpu()
        if lengths is not None and not torch.equal(given, lengths[batch]):
            at = int((given != lengths[batch]).nonzero()[0])
            raise InputError(
                f"item {batch[at]}: the encoder gave {int(given[at])} local features,"
                f" but its length was said to be {int(lengths[batch[at]])}"
            )
        owners = torch.arange(len(batch))
        _check_norms("local", features.local, batch, owners.repeat_interleave(given))
        _check_norms("global", features.global_, batch, owners)
        if self.global_is_last:
            last = features.local[features.lengths.to(features.local.device).cumsum(0) - 1]
            if float((last - features.global_).abs().max()) > 1e-3:
                raise InputError(
                    "global_is_last: the encoder's global features are not its last local ones"
                )


def _check_norms(kind: str, rows: Tensor, batch: list[int], owners: Tensor) -> None:
    norms = rows.float().norm(dim=1).cpu()
    wrong = (~((norms - 1).abs() < 1e-2)).nonzero()  # so that NaN is wrong too
    if len(wrong):
        at = int(wrong[0])
        raise InputError(
            f"item {batch[int(owners[at])]}: a {kind} feature has norm {norms[at]:.3g}, not 1: the"
            " encoder overflowed (try a higher precision) or does not normalise"
        )


class Target:
    """Room for some items' rows in the stored precision, filled batch by batch."""

    def __init__(self, lengths: Tensor, encoder: Encoder, precision: Precision) -> None:
        self.lengths = lengths
        self._firsts = row_offsets(lengths)
        self._precision = precision
        width, dtype = precision.width(encoder.embed_dim), precision.dtype
        self.local = torch.empty(int(self._firsts[-1]), width, dtype=dtype)
        self.global_ = (
            None if encoder.global_is_last else torch.empty(len(lengths), width, dtype=dtype)
        )

    def put(self, positions: list[int], features: PackedFeatures) -> None:
        """Store the features of the items at ``positions``."""
        at = torch.tensor(positions)
        stored = self._precision.stored
        rows = row_numbers(self._firsts[at], self.lengths[at])
        self.local.index_copy_(0, rows, stored(features.local).cpu())
        if self.global_ is not None:
            self.global_.index_copy_(0, at, stored(features.global_).cpu())
