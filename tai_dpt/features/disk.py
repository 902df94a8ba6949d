"""Writing the shards that a store on disk lacks: resumable, by one process or many."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.features.encode import Encoder, Target
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.precisions import stored_precision
from tai_dpt.features.progress import Progress, Report, format_bytes
from tai_dpt.features.shards import MISSING, Layout, ManifestError, ShardFolder, require_same
from tai_dpt.features.store import FeatureStore
from tai_dpt.io.cache import ELSEWHERE
from tai_dpt.io.lock import locked

MORE_ROOM = (
    f"free some, {ELSEWHERE}, or keep features in memory (FEATURES.CACHE memory) or nowhere (off)"
)


class NoRoom(InputError):
    """A store that is larger than the limit, or than what is free."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.reason = reason


@dataclass
class DiskBuilder:
    """What is lacking of a store in a folder, and its making."""

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
                        stacklevel=6,
                    )
            if mine:
                self._check_size(folder, list(faults))
                self._encode(folder, mine)

    def lacks_room(self) -> str | None:
        """Why the store cannot be kept; None where it can, or is there."""
        folder, missing = self._missing()
        try:
            if missing:
                self._check_size(folder, missing)
        except NoRoom as error:
            return error.reason
        return None

    def missing_bytes(self, *, within_limit: bool) -> int:
        """What is still to be written; InputError where that is ``within_limit`` and is not."""
        folder, missing = self._missing()
        if missing and within_limit:
            check_limit(self.name, folder.layout.nbytes, self.options.max_bytes)
        return sum(folder.layout.shard_bytes(shard) for shard in missing)

    def _missing(self) -> tuple[ShardFolder, list[int]]:
        """The store, there or to be, and the shards that it lacks."""
        folder = self._existing(warn=False)
        if folder is not None:
            return folder, list(self._faults(folder))
        folder = ShardFolder(self.path, self.plan())
        return folder, list(range(folder.layout.shard_count))

    def _waiting(self) -> None:
        self.report(f"{self.name}: another process is building {self.path}: waiting for it")

    def opened(self, rank: int, world: int) -> FeatureStore:
        """The finished store, marked as complete."""
        folder = ShardFolder.read(self.path)
        folder.require_all()
        if rank == 0 and not folder.complete:
            folder.complete = True
            # Worth a warning later, not an error now: the features are there.
            with suppress(OSError), locked(self.path, rank, world, self._waiting) as alone:
                if alone:  # of a process that was killed at this point: no shard is missing then
                    folder.remove_leftovers(rank, world)
                folder.write_manifest()
        return FeatureStore.of_folder(folder)

    def _existing(self, *, warn: bool) -> ShardFolder | None:
        try:
            folder = ShardFolder.read(self.path)
        except ManifestError as error:
            if warn and (self.path / "manifest.json").exists():
                warnings.warn(f"{error}; writing it again", stacklevel=7)
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
        check_limit(self.name, layout.nbytes, self.options.max_bytes)
        needed = sum(layout.shard_bytes(shard) for shard in missing)
        free = shutil.disk_usage(existing_part(self.path)).free
        if needed > free:
            raise NoRoom(too_large(self.name, needed, self.path, free), MORE_ROOM)

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


def existing_part(path: Path) -> Path:
    """The longest part of a path that is there."""
    return next(part for part in (path, *path.absolute().parents) if os.path.exists(part))


def too_large(name: str, needed: int, place: Path, free: int) -> str:
    """Why ``needed`` bytes cannot be written."""
    return (
        f"{name}: {format_bytes(needed)} to write in {place}, where"
        f" {format_bytes(max(free, 0))} are free"
    )


def check_limit(name: str, nbytes: int, max_bytes: int | None) -> None:
    """Raise NoRoom for a store that is larger than ``max_bytes``."""
    if max_bytes is not None and nbytes > max_bytes:
        raise NoRoom(
            f"{name}: the store takes {format_bytes(nbytes)}, over the limit of"
            f" {format_bytes(max_bytes)}",
            "raise the limit (FEATURES.MAX_GB), or encode without keeping (FEATURES.CACHE off)",
        )
