"""Writing files so that a reader sees either the old one or the whole new one."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from tai_dpt.errors import ENDING_SIGNALS
from tai_dpt.io.opening import open_file

_LONGEST_NAME = 200  # bytes of the temporary name; systems allow 255


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: str = "wb", **kwargs: Any
) -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path``; rename it to ``path`` when the block ends well.

    Missing parent folders are made. An exception in the block removes the temporary file and
    leaves what was at ``path`` as it was. ``kwargs`` go to ``open`` (encoding, newline).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with open(temporary, mode.replace("w", "x"), **kwargs) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        # a full disk names no file, and nobody knows the temporary one
        if isinstance(error, OSError) and error.filename in (None, os.fspath(temporary)):
            error.filename, error.filename2 = os.fspath(path), None
        raise


@contextmanager
def written_together(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to write files in; all are moved to ``folder`` when the block ends well, or
    none is. Missing folders are made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    building = temporary_name(folder / "files")
    building.mkdir()
    try:
        yield building
        with undisturbed():
            for path in building.iterdir():
                os.replace(path, folder / path.name)
    except OSError as error:
        error.filename, error.filename2 = os.fspath(folder), None
        raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that end a command wait until the block, a few renames, is done."""
    waiting: list[int] = []
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                if callable(handler := signal.getsignal(number)):
                    before[number] = handler
                    signal.signal(number, lambda number, _: waiting.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting[:1]:
            before[number](number, None)


def open_named(path: Path, mode: str, **kwargs: Any) -> TextIO:
    """A text file to add lines to, whose errors say which file it is: a full disk names none."""
    return io.TextIOWrapper(io.BufferedWriter(_Named(path, mode)), **kwargs)


class _Named(io.FileIO):
    def write(self, data: Any) -> int:
        with naming(os.fsdecode(self.name)):
            return super().write(data)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an OSError of the block that names no file name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def temporary_name(path: Path) -> Path:
    """A hidden name beside ``path`` that nothing has: ``.name.….tmp``.

    A file or folder made there has the permissions of any other one, unlike ``tempfile``'s, which
    would hide a shared run from other people.
    """
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    return path.with_name(f".{name}.{secrets.token_hex(6)}.tmp")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_file(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
