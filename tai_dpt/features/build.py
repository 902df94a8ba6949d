"""Opening feature stores, which encodes what they lack: on disk, in memory or nowhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.features.disk import (
    MORE_ROOM,
    DiskBuilder,
    NoRoom,
    check_limit,
    existing_part,
    too_large,
)
from tai_dpt.features.encode import Encode, Encoder, Load, Target
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.precisions import stored_precision
from tai_dpt.features.progress import Progress, Report, format_bytes
from tai_dpt.features.shards import KeyValue, Layout, describe_lengths, digest
from tai_dpt.features.store import FeatureStore, OnDemandStore


class StorePlan:
    """The store of some items' features: ``open`` encodes whatever of it does not exist yet.

    Until then nothing is encoded or written but, where lengths are not known, the first item.

    With ``cache="disk"`` features are kept in shards. What finished shards hold is never encoded
    again, after a kill at any point too; a missing or damaged shard is named in a warning and
    made anew; of two processes building one store the second waits, then finds it built (or takes
    over from a dead one). ``"memory"`` encodes everything now and holds it, ``"off"`` encodes
    whatever is read whenever it is read; neither touches the disk.

    Args:
        key: everything that determines the features: hashes of the weights, of the texts or the
            list of files, of the preprocessing; the encoder's precision. Plain values.
        count: number of items.
        embed_dim: ``D``.
        encode: the frozen encoder: features of one batch (``Features`` or ``PackedFeatures``,
            L2-normalised), from what ``load`` yields for it or else from its list of indices.
        load: yields the inputs of all batches in turn, ahead of the encoder; see ``Encoder``.
        lengths: local features of each item; one number if all have as many; None if they do
            and item 0 must be encoded to find out.
        global_is_last: an item's global feature is its last local one (captions): not stored
            twice.
        options: how it is kept; in a cache folder or a folder of its own, which they must name.

    Raises:
        InputError: the store holds other features (says which entries differ); it would be larger
            than ``max_bytes`` or the free space; the disk is full (finished shards stay); the
            encoder's results are not what was announced; an argument is wrong.
    """

    def __init__(
        self,
        *,
        key: Mapping[str, KeyValue],
        count: int,
        embed_dim: int,
        encode: Encode,
        load: Load | None = None,
        lengths: int | Sequence[int] | np.ndarray | Tensor | None = None,
        global_is_last: bool = False,
        options: StoreOptions | None = None,
    ) -> None:
        self.options = options or StoreOptions()
        self.options.check()
        _check_key(key)
        self._key, self._count, self._embed_dim = key, count, embed_dim
        self._global_is_last = global_is_last
        self._known = _as_lengths(lengths, count)
        self._encoder = Encoder(
            encode=encode,
            load=load,
            embed_dim=embed_dim,
            global_is_last=global_is_last,
            batch_rows=self.options.batch_rows,
            batch_items=self.options.batch_items,
        )
        self._report = self.options.progress or (lambda line: None)
        self._left_out: str | None = None  # why it is not kept, where that is known already
        self._opened: FeatureStore | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.options.name

    @property
    def on_disk(self) -> bool:
        """Whether it is kept on disk, as far as there is room."""
        return self.options.cache in ("auto", "disk")

    @property
    def may_be_left_out(self) -> bool:
        """Whether a run goes on without keeping it."""
        return self.options.cache == "auto" and self.options.read_once

    def open(self) -> FeatureStore:
        """Encode whatever of it does not exist yet, the first time."""
        if self._opened is None:
            self._opened = self._made()
        return self._opened

    def _made(self) -> FeatureStore:
        options, precision = self.options, stored_precision(self.options.precision)
        if options.cache == "off":
            return OnDemandStore(self._encoder, lengths=self._lengths, precision=precision)
        if options.cache == "memory":
            return _in_memory(
                self._layout(),
                self._encoder,
                name=options.name,
                max_bytes=options.max_bytes,
                report=self._report,
            )
        rank, world = options.shards
        if self.may_be_left_out:
            reason = self._left_out or self.builder.lacks_room()
            if options.barrier is not None:
                options.barrier()  # all ranks have looked before one writes
            if reason is not None:
                self._report(f"{reason}; they are read once: encoded then, and not kept")
                return OnDemandStore(self._encoder, lengths=self._lengths, precision=precision)
        self.builder.build(rank, world)
        if options.barrier is not None:
            options.barrier()
        return self.builder.opened(rank, world)

    def leave_out(self, reason: str) -> None:
        """Do not keep it; ``reason`` is told when it is opened."""
        self._left_out = reason

    @cached_property
    def builder(self) -> DiskBuilder:
        """What writes it, where it is ``on_disk``."""
        options = self.options
        asked = {
            "key": dict(self._key),
            "items": self._count,
            "lengths": None if self._known is None else describe_lengths(self._known),
            "embed_dim": self._embed_dim,
            "precision": options.precision,
            "global": "last local" if self._global_is_last else "own",
        }
        if (options.root is None) == (options.directory is None):
            raise InputError(
                'cache="disk" needs a cache folder (root) or a store\'s own (directory)'
            )
        path = (
            Path(options.directory)
            if options.directory is not None
            else Path(options.root or "") / f"{options.name}-{digest(asked)}"
        )
        return DiskBuilder(path, asked, self._layout, self._encoder, options, self._report)

    @cached_property
    def _lengths(self) -> Tensor:
        if self._known is not None:
            return self._known
        return torch.full((self._count,), self._encoder.length_of_first() if self._count else 1)

    def _layout(self) -> Layout:
        return Layout.plan(
            key=self._key,
            lengths=self._lengths,
            embed_dim=self._embed_dim,
            precision=self.options.precision,
            global_is_last=self._global_is_last,
            shard_bytes=self.options.shard_bytes,
        )


def check_stores(plans: Sequence[StorePlan]) -> None:
    """Compare all that will be written with the room there is, before any of it is made.

    What may be left out takes what the others leave, and is left out where that is too little.

    Raises:
        InputError: a store is over its limit, or they do not fit on the disk together.
    """
    on_disk = [plan for plan in plans if plan.on_disk]
    for here, sharing in _by_disk(on_disk).items():
        free = shutil.disk_usage(here).free
        needed: dict[str, int] = {}
        counted: set[Path] = set()
        for plan in sorted(sharing, key=lambda plan: plan.may_be_left_out):
            if plan.builder.path in counted:
                continue
            counted.add(plan.builder.path)
            missing = plan.builder.missing_bytes(within_limit=not plan.may_be_left_out)
            room = free - sum(needed.values())
            if plan.may_be_left_out and missing > room:
                plan.leave_out(too_large(plan.name, missing, plan.builder.path, room))
                continue
            needed[plan.name] = needed.get(plan.name, 0) + missing
        total = sum(needed.values())
        if total > free:
            parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in needed.items())
            raise NoRoom(too_large(f"features ({parts})", total, here, free), MORE_ROOM)


def _by_disk(plans: Sequence[StorePlan]) -> dict[Path, list[StorePlan]]:
    """The plans, by a folder that is there on each disk."""
    disks: dict[int, tuple[Path, list[StorePlan]]] = {}
    for plan in plans:
        here = existing_part(plan.builder.path)
        disks.setdefault(os.stat(here).st_dev, (here, []))[1].append(plan)
    return dict(disks.values())


def _in_memory(
    layout: Layout, encoder: Encoder, *, name: str, max_bytes: int | None, report: Report
) -> FeatureStore:
    check_limit(name, layout.nbytes, max_bytes)
    count = len(layout.lengths)
    report(f"{name}: encoding {count:,} items into memory, {format_bytes(layout.nbytes)}")
    progress = Progress(name, items=count, rows=int(layout.lengths.sum()), report=report)
    positions, batches = encoder.plan(torch.arange(count), layout.lengths)
    precision = stored_precision(layout.precision)
    target = Target(layout.lengths, encoder, precision)
    for batch, features in zip(positions, encoder.run(batches, layout.lengths), strict=True):
        target.put(batch, features)
        progress.add(len(features), len(features.local))
    progress.finish()
    return FeatureStore(
        lengths=layout.lengths,
        local=[target.local],
        global_=None if target.global_ is None else [target.global_],
        embed_dim=layout.embed_dim,
        precision=precision,
    )


def _as_lengths(
    lengths: int | Sequence[int] | np.ndarray | Tensor | None, count: int
) -> Tensor | None:
    if count < 0:
        raise InputError(f"count must not be negative, got {count}")
    if lengths is None:
        return None
    if isinstance(lengths, int | np.integer):
        lengths = torch.full((count,), lengths)
    values = torch.as_tensor(lengths).to(torch.int64)
    if len(values) != count:
        raise InputError(f"{len(values)} lengths for {count} items")
    if count and int(values.min()) < 1:
        item = int(values.argmin())
        raise InputError(
            f"item {item} has {int(values[item])} local features; at least 1 is needed"
        )
    return values


def _check_key(key: Mapping[str, KeyValue]) -> None:
    for name, value in key.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float | bool):
            raise InputError(f"key entry {name!r}: {value!r} is not a string, number or bool")
