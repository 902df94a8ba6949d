"""One builder of a store at a time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path, rank: int, world: int, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the right to build this rank's shards; wait while another process holds it.

    The kernel drops a dead process's locks, so no lock has to be judged stale. Ranks share the
    folder with each other, but not with a process that builds all of it. Yields False where the
    system has no such locks: there renaming alone keeps the store valid, at the cost of work done
    twice.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return

    def take(stream: IO[bytes], mode: int) -> bool:
        try:
            fcntl.flock(stream, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(stream, mode)
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK):
                return False
            raise
        return True

    with ExitStack() as stack:
        whole = stack.enter_context((path / "build.lock").open("ab"))
        held = take(whole, fcntl.LOCK_EX if world == 1 else fcntl.LOCK_SH)
        if world > 1:
            own = stack.enter_context((path / f"build-{rank}-of-{world}.lock").open("ab"))
            held = take(own, fcntl.LOCK_EX) and held
        yield held
