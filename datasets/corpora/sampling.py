"""Which labelled captions are kept while they stream past: all, or so many a class."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from tai_dpt.errors import InputError

Labelled = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Keep:
    """Which captions of a corpus are kept.

    Args:
        drop_duplicates: a repeated text once.
        per_class: a random sample of so many different ones of each class (``CaptionSample``), so
            that memory does not grow with the corpus; 0 for all.
        seed: of the sample.
    """

    drop_duplicates: bool = False
    per_class: int = 0
    seed: int = 0

    def collector(self, classes: int) -> AllCaptions | CaptionSample:
        """What takes labelled captions as they come, and has those that are kept."""
        if self.per_class:
            return CaptionSample(classes=classes, limit=self.per_class, seed=self.seed)
        return AllCaptions(drop_duplicates=self.drop_duplicates)


class AllCaptions:
    """Every caption that names a class, without repeated texts where that is asked for."""

    def __init__(self, *, drop_duplicates: bool = False) -> None:
        self._texts: list[str] = []
        self._classes: list[tuple[int, ...]] = []
        self._same: dict[tuple[int, ...], tuple[int, ...]] = {}  # few differ: each is kept once
        self._seen: set[bytes] | None = set() if drop_duplicates else None

    def add(self, caption: str, classes: tuple[int, ...]) -> None:
        if self._seen is not None:
            before = len(self._seen)
            self._seen.add(_key(caption, 0))
            if len(self._seen) == before:
                return
        self._texts.append(caption)
        self._classes.append(self._same.setdefault(classes, classes))

    def __iter__(self) -> Iterator[Labelled]:
        return zip(self._texts, self._classes, strict=True)


class CaptionSample:
    """For each class a random sample of ``limit`` different captions that name it.

    Those whose texts have the smallest seeded hashes: the sample is uniform, holds no text twice,
    and depends neither on the order of the captions nor on who reads them. Memory is that of the
    sample, at most ``limit`` captions a class.
    """

    def __init__(self, *, classes: int, limit: int, seed: int = 0) -> None:
        if limit < 1:
            raise InputError(f"the sample of captions per class must be at least 1, got {limit}")
        self._limit, self._seed = limit, seed
        self._largest: list[list[int]] = [[] for _ in range(classes)]  # heaps of negative keys
        self._kept: dict[int, tuple[Labelled, int]] = {}  # with the number of heaps it is in

    def add(self, caption: str, classes: tuple[int, ...]) -> None:
        key = int.from_bytes(_key(caption, self._seed), "big")
        if key in self._kept:
            return
        taken = 0
        for index in classes:
            heap = self._largest[index]
            if len(heap) < self._limit:
                heapq.heappush(heap, -key)
            elif key < -heap[0]:
                self._release(-heapq.heapreplace(heap, -key))
            else:
                continue
            taken += 1
        if taken:
            self._kept[key] = ((caption, classes), taken)

    def _release(self, key: int) -> None:
        labelled, heaps = self._kept.pop(key)
        if heaps > 1:
            self._kept[key] = labelled, heaps - 1

    def __iter__(self) -> Iterator[Labelled]:
        """In the order of their hashes."""
        return (self._kept[key][0] for key in sorted(self._kept))


def _key(caption: str, seed: int) -> bytes:
    return blake2b(caption.encode(), digest_size=8, key=seed.to_bytes(8, "big")).digest()
