"""Reading UTF-8 text the way users' files are: with or without BOM, with LF, CRLF or CR."""

from __future__ import annotations

import codecs
import gzip
import importlib
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from tai_dpt.errors import InputError
from tai_dpt.io.opening import open_file

_WIDE_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_NO_TEXT = {
    b"PK\x03\x04": "a zip archive or a workbook of Excel",
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PAR1": "a Parquet file",
}


def read_text(path: str | os.PathLike[str]) -> str:
    """The whole file as one string, without BOM; line ends become ``\\n``.

    Raises:
        InputError: there is no such file, it is a folder, it is empty or it is not UTF-8.
    """
    return "\n".join(line for _, line in read_lines(path))


def read_lines(path: str | os.PathLike[str], *, pipe: bool = False) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file as ``(line number from 1, line without its end)``, one at a time.

    A file called ``….gz`` or ``….zst`` is unpacked.

    Args:
        pipe: as ``io.opening`` has it.

    Raises:
        InputError: there is no such file, it is a folder, it is empty, cannot be unpacked, or a
            byte is not UTF-8 — the message gives its position and the command that converts it.
    """
    path = Path(path)
    with open_file(path, pipe=pipe) as stream, _unpacked(stream, path) as content:
        try:
            yield from decoded_lines(content, str(path))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"cannot unpack {path}: {error}; is the file whole?") from None


def without_packing(name: str) -> str:
    """A file's name as it would be unpacked."""
    return name.removesuffix(".gz").removesuffix(".zst")


def _unpacked(stream: BinaryIO, path: Path) -> AbstractContextManager[Iterable[bytes]]:
    kind = path.suffix.lower()
    if kind == ".gz":
        return gzip.open(stream)
    return nullcontext(_zstd_lines(stream, path) if kind == ".zst" else stream)


def _zstd_lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        zstd: Any = importlib.import_module("zstandard")
    except ImportError:
        raise InputError(
            f"{path} is compressed by zstd: pip install 'tai-dpt[formats]', or unpack it"
        ) from None
    frame, rest = None, b""
    try:
        for packed in iter(lambda: stream.read(1 << 16), b""):
            while packed:
                if frame is None or frame.eof:
                    frame = zstd.ZstdDecompressor().decompressobj()
                lines = (rest + frame.decompress(packed)).splitlines(keepends=True)
                packed = frame.unused_data if frame.eof else b""
                rest = lines.pop() if lines else b""  # it may go on
                yield from lines
    except zstd.ZstdError as error:
        raise InputError(f"cannot unpack {path}: {error}; is the file whole?") from None
    if frame is not None and not frame.eof:
        raise EOFError("it ends too soon")
    if rest:
        yield rest


def decoded_lines(stream: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """As ``read_lines``, of a stream that is open; ``name`` says what it is in messages."""
    position = 0
    number = 1
    for raw in stream:
        if position == 0:
            for bom, encoding in _WIDE_BOMS.items():
                if raw.startswith(bom):
                    raise _not_utf8(name, 0, 1, encoding)
            if b"\0" in raw[:2]:  # every other byte of Latin letters
                raise _not_utf8(name, 0, 1, "UTF-16LE" if raw[1:2] == b"\0" else "UTF-16BE")
            for mark, kind in _NO_TEXT.items():
                if raw.startswith(mark):
                    raise InputError(
                        f"{name} is {kind}, not text; unpack it, or save it as CSV in UTF-8"
                    )
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            before = number + raw[: error.start].replace(b"\r\n", b"\n").count(b"\r")
            raise _not_utf8(name, position + error.start, before, "LATIN1") from None
        if position == 0:
            text = text.removeprefix("\ufeff")
        position += len(raw)
        text = text.removesuffix("\n").removesuffix("\r")
        for line in text.split("\r") if "\r" in text else (text,):  # an old Mac's line ends
            yield number, line
            number += 1
    if position == 0:
        raise InputError(f"{name} is empty")


def _not_utf8(name: str, position: int, line: int, encoding: str) -> InputError:
    file = Path(name).name
    return InputError(
        f"{name} is not UTF-8: byte {position} (line {line}) cannot be decoded; convert it, e.g. "
        f"iconv -f {encoding} -t UTF-8 '{file}' > 'utf8-{file}'"
    )
