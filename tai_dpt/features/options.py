"""How features are kept: what a reader gets does not depend on it, but for the precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tai_dpt.errors import InputError, unknown
from tai_dpt.features.progress import Report

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
