"""Command lines in forked children of one warm process: real ``main()``s, in milliseconds each."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SECONDS = 20  # of a core: other work on the machine is no fault of the command
WAIT = 120.0  # for one that waits and computes nothing
GIGABYTES = 24  # of addresses: torch reserves many that it never touches


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
    out, err, given = (scratch / name for name in ("stdout", "stderr", "stdin"))
    given.write_bytes(stdin)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_the_command([str(argument) for argument in arguments], given, out, err, room)
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            code = -1 if code == -signal.SIGXCPU else code
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            code = -1
            break
        time.sleep(0.005)
    read = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Ended(code, *read)


def _be_the_command(
    arguments: list[str], given: Path, out: Path, err: Path, room: int | None
) -> None:
    """In the child: become the command; never returns."""
    import resource
    import traceback

    code = 70
    try:
        for number, path, flags in (
            (0, given, os.O_RDONLY),
            (1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            os.dup2(os.open(path, flags, 0o644), number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name in ("SIGINT", "SIGTERM"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        if room is not None:
            from tai_dpt.io import output

            output._LEAST_ROOM = 0  # as if the room went after it was looked for
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        from tai_dpt.cli.exits import exit_code
        from tai_dpt.cli.main import cli

        code = exit_code("tai-dpt", lambda: cli.main(arguments, "tai-dpt", standalone_mode=False))
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
