"""Computing what a feature store lacks: once, resumable, by one process or many."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tai_dpt.errors import InputError, unknown
from tai_dpt.features.encode import Encode, Encoder, Load, Target
from tai_dpt.features.precisions import stored_precision
from tai_dpt.features.progress import Progress, Report, format_bytes
from tai_dpt.features.shards import (
    MISSING,
    KeyValue,
    Layout,
    ManifestError,
    ShardFolder,
    describe_lengths,
    digest,
    require_same,
)
from tai_dpt.features.store import FeatureStore, OnDemandStore
from tai_dpt.io.cache import ELSEWHERE
from tai_dpt.io.lock import locked

Cache = Literal["auto", "disk", "memory", "off"]

CACHES = ("auto", "disk", "memory", "off")


@dataclass(frozen=True)
class StoreOptions:
    """How features are kept; none of it changes what a reader gets, but for ``precision``.

    Args:
        cache: "disk", "memory", "off", or "auto": disk, but what is read once and does not fit is
            encoded as it is read.
        read_once: whether each item is read once, as test images are.
        root: cache folder: each key has its own sub-folder ``<name>-<digest>`` in it.
        directory: the store's own folder, in place of ``root``; one that was built with another
            key is refused.
        name: what the items are, for messages and the sub-folder: "captions".
        precision: of stored values, "fp16", "fp32" or "int8" (with a scale a row). Reading gives
            fp32 either way.
        max_bytes: refuse to make a store larger than this.
        shard_bytes: size of a shard; the most work a kill can lose. An existing store keeps its.
        batch_rows, batch_items: limits of one batch for the encoder: local positions, padding
            included, and items.
        shards: (rank, world): this process encodes every world-th shard. Disk only: with the
            other caches each rank encodes all it reads.
        barrier: returns once every rank has called it; required where world > 1
            (``torch.distributed.barrier``).
        verify: compute all shards' checksums, not only of files touched since they were written.
        progress: takes lines: what is to be done, its size, how far it is. None: silence.
        about: for people who look at what is kept (``tai-dpt cache``): the backbone's name, what
            the items are. It determines nothing.
    """

    cache: Cache = "disk"
    read_once: bool = False
    root: str | os.PathLike[str] | None = None
    directory: str | os.PathLike[str] | None = None
    name: str = "features"
    precision: str = "fp16"
    max_bytes: int | None = None
    shard_bytes: int = 64 << 20
    batch_rows: int = 8192
    batch_items: int = 512
    shards: tuple[int, int] = (0, 1)
    barrier: Callable[[], None] | None = None
    verify: bool = False
    progress: Report | None = print
    about: Mapping[str, str] | None = None

    def check(self) -> None:
        """Raise InputError for what makes no store."""
        if self.cache not in CACHES:
            raise unknown("feature cache", self.cache, CACHES)
        rank, world = self.shards
        if not 0 <= rank < world:
            raise InputError(f"shards=({rank}, {world}): the rank must lie in 0 … {world - 1}")
        if world > 1 and self.barrier is None and self.cache in ("auto", "disk"):
            raise InputError("shards: building with several ranks needs a barrier")


def build_store(
    *,
    key: Mapping[str, KeyValue],
    count: int,
    embed_dim: int,
    encode: Encode,
    load: Load | None = None,
    lengths: int | Sequence[int] | np.ndarray | Tensor | None = None,
    global_is_last: bool = False,
    options: StoreOptions | None = None,
) -> FeatureStore:
    """Open the store of some items' features, encoding whatever of it does not exist yet.

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
    options = options or StoreOptions()
    options.check()
    precision = stored_precision(options.precision)
    _check_key(key)
    known = _as_lengths(lengths, count)
    encoder = Encoder(
        encode=encode,
        load=load,
        embed_dim=embed_dim,
        global_is_last=global_is_last,
        batch_rows=options.batch_rows,
        batch_items=options.batch_items,
    )
    report = options.progress or (lambda line: None)

    def all_lengths() -> Tensor:
        if known is not None:
            return known
        return torch.full((count,), encoder.length_of_first() if count else 1)

    if options.cache == "off":
        return OnDemandStore(encoder, lengths=all_lengths(), precision=precision)

    def plan() -> Layout:
        return Layout.plan(
            key=key,
            lengths=all_lengths(),
            embed_dim=embed_dim,
            precision=options.precision,
            global_is_last=global_is_last,
            shard_bytes=options.shard_bytes,
        )

    if options.cache == "memory":
        return _in_memory(
            plan(), encoder, name=options.name, max_bytes=options.max_bytes, report=report
        )

    asked = {
        "key": dict(key),
        "items": count,
        "lengths": None if known is None else describe_lengths(known),
        "embed_dim": embed_dim,
        "precision": options.precision,
        "global": "last local" if global_is_last else "own",
    }
    if (options.root is None) == (options.directory is None):
        raise InputError('cache="disk" needs a cache folder (root) or a store\'s own (directory)')
    path = (
        Path(options.directory)
        if options.directory is not None
        else Path(options.root or "") / f"{options.name}-{digest(asked)}"
    )
    builder = _DiskBuilder(path, asked, plan, encoder, options, report)
    rank, world = options.shards
    if options.cache == "auto" and options.read_once:
        reason = builder.lacks_room()
        if options.barrier is not None:
            options.barrier()  # all ranks have looked before one writes
        if reason is not None:
            report(f"{reason}; they are read once: encoded then, and not kept")
            return OnDemandStore(encoder, lengths=all_lengths(), precision=precision)
    builder.build(rank, world)
    if options.barrier is not None:
        options.barrier()
    return builder.opened(rank, world)


class _NoRoom(InputError):
    """A store that is larger than the limit, or than what is free."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.reason = reason


@dataclass
class _DiskBuilder:
    path: Path
    asked: Mapping[str, Any]  # the identity a store must have
    plan: Callable[[], Layout]
    encoder: Encoder
    options: StoreOptions
    report: Report

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def about(self) -> dict[str, str]:
        return dict(self.options.about or {})

    def build(self, rank: int, world: int) -> None:
        """Encode this rank's missing shards."""
        # A finished store is opened without a lock, so also from a folder one may only read.
        folder = self._existing(warn=False)
        if folder is not None and not self._faults(folder):
            self.report(f"{self.name}: {len(folder.layout.lengths):,} items found in {self.path}")
            return
        fresh = None
        if folder is None:
            fresh = ShardFolder(self.path, self.plan(), about=self.about)
            self._check_size(fresh, list(range(fresh.layout.shard_count)))
        with ExitStack() as stack:
            with self._writing():
                self.path.mkdir(parents=True, exist_ok=True)
                alone = stack.enter_context(locked(self.path, rank, world, self._waiting))
            folder = self._existing(warn=True)  # another process may have built it meanwhile
            if folder is None:
                folder = fresh or ShardFolder(self.path, self.plan(), about=self.about)
                with self._writing():
                    folder.write_manifest()
            if alone:
                folder.remove_leftovers(rank, world)
            faults = self._faults(folder)
            mine = [shard for shard in faults if shard % world == rank]
            for shard in mine:
                if faults[shard] != MISSING or folder.complete:
                    warnings.warn(
                        f"{folder.shard_path(shard)}: {faults[shard]}; making it again",
                        stacklevel=4,
                    )
            if mine:
                self._check_size(folder, list(faults))
                self._encode(folder, mine)

    def lacks_room(self) -> str | None:
        """Why the store cannot be kept; None where it can, or is there."""
        folder = self._existing(warn=False)
        missing = [] if folder is None else list(self._faults(folder))
        if folder is not None and not missing:
            return None
        folder = folder or ShardFolder(self.path, self.plan())
        try:
            self._check_size(folder, missing or list(range(folder.layout.shard_count)))
        except _NoRoom as error:
            return error.reason
        return None

    def _waiting(self) -> None:
        self.report(f"{self.name}: another process is building {self.path}: waiting for it")

    def opened(self, rank: int, world: int) -> FeatureStore:
        """The finished store, marked as complete."""
        folder = ShardFolder.read(self.path)
        folder.require_all()
        if rank == 0 and not folder.complete:
            folder.complete = True
            # Worth a warning later, not an error now: the features are there.
            with suppress(OSError), locked(self.path, rank, world, self._waiting):
                folder.write_manifest()
        return FeatureStore.of_folder(folder)

    def _existing(self, *, warn: bool) -> ShardFolder | None:
        try:
            folder = ShardFolder.read(self.path)
        except ManifestError as error:
            if warn and (self.path / "manifest.json").exists():
                warnings.warn(f"{error}; writing it again", stacklevel=5)
            return None
        asked = dict(self.asked)
        if asked["lengths"] is None:
            asked["lengths"] = folder.layout.identity["lengths"]
        require_same(asked, folder.layout.identity, self.path)
        return folder

    def _faults(self, folder: ShardFolder) -> dict[int, str]:
        return {
            shard: fault
            for shard in range(folder.layout.shard_count)
            if (fault := folder.fault(shard, verify=self.options.verify)) is not None
        }

    def _check_size(self, folder: ShardFolder, missing: list[int]) -> None:
        layout = folder.layout
        _check_limit(self.name, layout.nbytes, self.options.max_bytes)
        needed = sum(layout.shard_bytes(shard) for shard in missing)
        folders = (self.path, *self.path.absolute().parents)
        here = next(folder for folder in folders if os.path.exists(folder))
        free = shutil.disk_usage(here).free
        if needed > free:
            raise _NoRoom(
                f"{self.name}: {format_bytes(needed)} to write in {self.path}, where"
                f" {format_bytes(free)} are free",
                f'free some, {ELSEWHERE}, or keep features in memory (cache="memory") or nowhere'
                ' ("off")',
            )

    def _encode(self, folder: ShardFolder, shards: list[int]) -> None:
        layout = folder.layout
        planned = [self.encoder.plan(layout.shard_items(shard), layout.lengths) for shard in shards]
        size = sum(layout.shard_bytes(shard) for shard in shards)
        self.report(
            f"{self.name}: store of {len(layout.lengths):,} items, {format_bytes(layout.nbytes)}"
            f" in {layout.shard_count} shards, in {self.path}; to make here: {len(shards)} shards,"
            f" {format_bytes(size)}"
        )
        progress = Progress(
            self.name,
            items=sum(len(layout.shard_items(shard)) for shard in shards),
            rows=sum(layout.shard_rows(shard)[0] for shard in shards),
            report=self.report,
        )
        # One stream over all shards: the loader reads ahead across their borders.
        results = self.encoder.run(
            [batch for _, batches in planned for batch in batches], layout.lengths
        )
        for done, (shard, (positions, _)) in enumerate(zip(shards, planned, strict=True)):
            own = layout.lengths[layout.shard_items(shard)]
            target = Target(own, self.encoder, stored_precision(layout.precision))
            for batch in positions:
                features = next(results)
                target.put(batch, features)
                progress.add(len(features), len(features.local))
            with self._writing(f"; {done} of {len(shards)} shards were made and stay"):
                folder.write(shard, target.local, target.global_)
        progress.finish()

    @contextmanager
    def _writing(self, state: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            problem = "the disk is full" if full else str(error.strerror or error)
            mend = "free some space" if full else "mend this"
            raise InputError(
                f"{self.name}: cannot write the feature store {self.path}: {problem}{state};"
                f" {mend} and start again to go on, or {ELSEWHERE}"
            ) from error


def _in_memory(
    layout: Layout, encoder: Encoder, *, name: str, max_bytes: int | None, report: Report
) -> FeatureStore:
    _check_limit(name, layout.nbytes, max_bytes)
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


def _check_limit(name: str, nbytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and nbytes > max_bytes:
        raise _NoRoom(
            f"{name}: the store takes {format_bytes(nbytes)}, over the limit of"
            f" {format_bytes(max_bytes)}",
            "raise the limit (FEATURES.MAX_GB), or encode without keeping (FEATURES.CACHE off)",
        )
