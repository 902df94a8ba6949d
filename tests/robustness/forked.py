"""Command lines in forked children of one warm process: real ``main()``s, in milliseconds each."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

SECONDS = 20  # of a core: other work on the machine is no fault of the command
# for one that waits and computes nothing; many seeds are tried in the background
WAIT = 1800.0 if os.environ.get("TAI_DPT_FAULT_SEEDS") else 120.0
GIGABYTES = 24  # of addresses: torch reserves many that it never touches

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Ended(NamedTuple):
    """How a command line ended."""

    code: int  # -1: it had to be killed
    out: str
    err: str

    @property
    def fault(self) -> str:
        """What is wrong with how it ended, in a word; empty where it is done or said why not."""
        if self.code == -1:
            return "HANG"
        if "Traceback (most recent call last)" in self.err or "Fatal Python error" in self.err:
            return "TRACEBACK"
        if self.code < 0:
            return "CRASH"
        said = [line for line in self.err.splitlines() if "rror: " in line]
        if self.code in (1, 2) and len(said) != 1:
            return "VAGUE"
        return ""

    @property
    def said(self) -> str:
        """The last line on stderr."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""


class Child:
    """A fork of this process at ``work``, which returns an exit code."""

    def __init__(
        self,
        work: Callable[[], int],
        scratch: Path,
        *,
        stdin: bytes = b"",
        room: int | None = None,
    ) -> None:
        given, *self._said = [scratch / name for name in ("stdin", "stdout", "stderr")]
        given.write_bytes(stdin)
        streams = [os.open(given, os.O_RDONLY), *(os.open(p, _NEW, 0o644) for p in self._said)]
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            become(work, streams, room)
        for stream in streams:
            os.close(stream)

    def wait(self, seconds: float = WAIT) -> Ended:
        """How it ended; after so many seconds it is killed, whatever it does."""
        deadline = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                code = -1 if code == -signal.SIGXCPU else code
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                code = -1
                break
            time.sleep(0.005)
        read = [path.read_text(encoding="utf-8", errors="replace") for path in self._said]
        return Ended(code, *read)


def command(
    arguments: Sequence[object],
    scratch: Path,
    *,
    seconds: float = WAIT,
    stdin: bytes = b"",
    room: int | None = None,
) -> Ended:
    """Run ``tai-dpt ARGUMENTS`` in a child, with a limit on time and memory.

    Args:
        scratch: a folder for what it prints.
        seconds: after which it is killed, whatever it does.
        stdin: what it is given there.
        room: bytes after which every file is full, found out in the midst of the work.
    """
    return Child(lambda: main(arguments), scratch, stdin=stdin, room=room).wait(seconds)


def main(arguments: Sequence[object]) -> int:
    """``tai-dpt ARGUMENTS`` in this process: its exit code."""
    from tai_dpt.cli.exits import exit_code
    from tai_dpt.cli.main import cli

    words = [str(argument) for argument in arguments]
    return exit_code("tai-dpt", lambda: cli.main(words, "tai-dpt", standalone_mode=False))


def without_privileges() -> None:
    """Let permissions hold for root, too, who else reads and writes what is closed."""
    if os.geteuid() == 0:
        header = struct.pack("Ii", 0x20080522, 0)  # Linux's capset: none of them, for this process
        if ctypes.CDLL(None).capset(header, bytes(24)):
            raise OSError("privileges stay")


def become(work: Callable[[], int], streams: Sequence[int], room: int | None = None) -> NoReturn:
    """In a child: do ``work`` with these files for stdin, stdout and stderr; never returns."""
    import resource
    import traceback

    code = 70
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        if room is not None:
            from tai_dpt.io import output

            output._LEAST_ROOM = 0  # as if the room went after it was looked for
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:  # whatever comes, the child must not go on as a second pytest
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = code or 1
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
