"""Everything printed goes to the console and to ``log.txt``, as in Dassl."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any, TextIO

from tai_dpt.errors import InputError
from tai_dpt.io.atomic import open_named
from tai_dpt.io.console import Lasting


class Tee:
    """A text stream that writes to ``console`` and, line by line, to a log file.

    Either may be left out: without ``echo`` the console gets nothing, without a log no file does.
    A console that nobody reads any more (``| head``), that is closed or full, ends nothing: the
    log goes on.
    """

    def __init__(self, console: TextIO | None, log: TextIO | None, *, echo: bool = True) -> None:
        self.console = Lasting(console)
        self.log = log
        self.echo = echo

    def write(self, text: str) -> int:
        """Write to both; what follows ``close`` goes to the console alone."""
        if self.log is not None:
            self.log.write(text)
        if self.echo:
            self.console.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush both."""
        if self.log is not None:
            self.log.flush()
        self.console.flush()

    def close(self) -> None:
        """Close the log file and give ``sys.stdout`` back; the console stays open.

        Both also where the end of the log finds no room, which raises OSError.
        """
        log, self.log, self.echo = self.log, None, True
        if sys.stdout is self:
            sys.stdout = self.console.stream
        if log is not None:
            log.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.console, name)  # encoding, isatty, fileno, …


def setup_logger(output: str | os.PathLike[str] | None = None, *, echo: bool = True) -> Tee | None:
    """Copy ``sys.stdout`` into ``output``/log.txt (or into ``output`` itself if .txt or .log).

    A log that is already there is kept: the new one gets the time as a suffix. Without ``echo``
    the console gets nothing. Returns the stream now in ``sys.stdout`` (its ``close`` undoes
    this), or None for no ``output`` and ``echo``. Raises InputError where the file cannot be
    written.
    """
    if not output:
        return None if echo else _install(Tee(sys.stdout, None, echo=False))
    return _install(Tee(sys.stdout, open_log(output), echo=echo))


def open_log(output: str | os.PathLike[str]) -> TextIO:
    """A new log file ``output``/log.txt (or ``output`` itself), named as by ``setup_logger``."""
    path = Path(output)
    if path.suffix not in (".txt", ".log"):
        path = path / "log.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _open_new(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write the log {path} ({reason}): choose another --output-dir"
        ) from error


def _install(tee: Tee) -> Tee:
    sys.stdout = tee
    return tee


@contextmanager
def logging_to(output: str | os.PathLike[str] | None, *, echo: bool = True) -> Iterator[None]:
    """``setup_logger`` for the length of a block; ``sys.stdout`` is given back at its end."""
    console = sys.stdout
    tee = setup_logger(output, echo=echo)
    try:
        yield
    finally:
        sys.stdout = console
        if tee is not None:
            tee.close()


def _open_new(path: Path) -> TextIO:
    dated = path.name + time.strftime("-%Y-%m-%d-%H-%M-%S")
    names = chain([path.name, dated], (f"{dated}-{i}" for i in count(2)))  # many in one second
    while True:
        try:
            return open_named(
                path.with_name(next(names)),
                "x",
                encoding="utf-8",
                errors="backslashreplace",  # names of files may be no text
                line_buffering=True,
            )
        except FileExistsError:
            continue
