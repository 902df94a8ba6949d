"""Reading files in threads while something else computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Read], *, at_most: int, workers: int
) -> Iterator[Read]:
    """``map(read, items)`` in ``workers`` threads, ``at_most`` results ahead of their use.

    Without workers each is read when it is asked for.
    """
    if workers < 1:
        yield from map(read, items)
        return
    # In a forked process torch makes its pool anew at the first use; two threads that come to it
    # at once fail on an assertion ("Invalid thread pool!"), so it is made before there are any.
    torch.set_num_threads(torch.get_num_threads())
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Read]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) >= at_most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
