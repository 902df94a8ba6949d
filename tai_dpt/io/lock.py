"""Locks between processes: whoever holds one may work, the others wait or go elsewhere.

The system drops a dead process's locks, so none has to be judged stale. Where a file system has
no locks (some network ones) work goes on without: files are renamed into place, so that they stay
whole, at the cost of work done twice.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from tai_dpt.errors import InputError


class Lock(enum.Enum):
    """What came of asking for a lock."""

    OURS = "ours"
    TAKEN = "another process has it"
    NONE = "there are no locks here"


_held: set[int] = set()  # descriptors of folders that this process alone is to hold


def _let_go() -> None:
    """A worker does not hold what its parent held: it may outlive it."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Hold a folder; False where another process does. Nothing is left in it, nor in a child."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield True
        return
    _held.add(descriptor)
    alone = True
    try:
        with suppress(OSError):  # no locks here
            alone = lock_descriptor(descriptor, blocking=False)
        yield alone
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def try_lock(stream: IO[bytes]) -> Lock:
    """Take the lock of an open file, until it is closed, if nobody has it.

    A child process that inherits the file holds the lock as well.
    """
    return _lock(stream, blocking=False)


def _lock(stream: IO[bytes], *, blocking: bool) -> Lock:
    try:
        return Lock.OURS if lock_descriptor(stream.fileno(), blocking=blocking) else Lock.TAKEN
    except OSError:
        return Lock.NONE


def open_lock(path: Path) -> IO[bytes]:
    """The file of a lock, made where there is none.

    Raises:
        InputError: something else is there; a pipe would be waited for without end.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is kept for a lock, and is no file: remove it")
    return path.open("a+b")


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where there is none; wait while somebody has it."""
    with open_lock(path) as stream:
        _lock(stream, blocking=True)
        yield


@contextmanager
def locked(folder: Path, rank: int, world: int, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the right to build this rank's share of ``folder``; wait while another process does.

    Ranks share the folder with each other, but not with a process that builds all of it: a rank
    passes the gate and leaves it open behind itself, a lone process keeps it and waits for the
    ranks that are in.

    Args:
        rank, world: which share; (0, 1) is all of it.
        waiting: called once, if there is somebody to wait for.

    Yields:
        False where the file system has no locks.
    """
    told = False

    def take(stack: ExitStack, name: str) -> bool:
        nonlocal told
        stream = stack.enter_context(open_lock(folder / name))
        state = try_lock(stream)
        if state is Lock.TAKEN:
            if not told:
                waiting()
            told = True
            state = _lock(stream, blocking=True)
        return state is Lock.OURS

    with ExitStack() as stack, ExitStack() as gate:
        held = take(gate, "build.lock")
        if world > 1:
            held &= take(stack, f"build-{rank}-of-{world}.lock")
            gate.close()
        else:
            for path in sorted(folder.glob("build-*-of-*.lock")):
                held &= take(stack, path.name)
        yield held
