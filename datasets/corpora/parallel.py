"""Labelling in worker processes, for corpora that are long."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from tai_dpt.backbones.tokenizers import Tokenizer
from tai_dpt.datasets.corpora.reading_labels import read_labels
from tai_dpt.io.cores import usable_cores
from tai_dpt.labels import NounFilter

_ALONE = 50_000  # captions that are labelled sooner than processes start
_AT_ONCE = 4_000  # captions a task
_AHEAD = 3  # tasks a worker has at most: what is read ahead stays small

_given: tuple[NounFilter, Tokenizer] | None = None  # a worker's, from its parent


def labelled(
    captions: Iterable[str],
    noun_filter: NounFilter,
    tokenizer: Tokenizer,
    *,
    workers: int | None = None,
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """As ``read_labels``, in the same order, with worker processes once a corpus proves long.

    Args:
        workers: processes; as many as there are cores when None. They are forked, as torch's
            loaders are; where the system cannot, this process does it all.
    """
    stream = iter(captions)
    beginning = list(islice(stream, _ALONE))
    yield from read_labels(beginning, noun_filter, tokenizer)
    if len(beginning) < _ALONE:
        return
    workers = workers or usable_cores()
    if workers < 2 or sys.platform != "linux":
        yield from read_labels(stream, noun_filter, tokenizer)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin,
        initargs=(noun_filter, tokenizer),
    )
    waiting: deque[tuple[list[str], Future[list[tuple[int, ...]]]]] = deque()
    try:
        while True:
            part = list(islice(stream, _AT_ONCE))
            if part:
                with warnings.catch_warnings():  # that torch's threads are not forked with it
                    warnings.simplefilter("ignore", DeprecationWarning)
                    waiting.append((part, pool.submit(_label, part)))
            if not waiting:
                return
            if not part or len(waiting) >= _AHEAD * workers:
                texts, result = waiting.popleft()
                yield from zip(texts, result.result(), strict=True)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(noun_filter: NounFilter, tokenizer: Tokenizer) -> None:
    global _given
    _given = noun_filter, tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers for all
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _label(captions: list[str]) -> list[tuple[int, ...]]:
    assert _given is not None
    return [found for _, found in read_labels(captions, *_given)]
