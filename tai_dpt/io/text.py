"""Reading UTF-8 text the way users' files are: with or without BOM, with LF or CRLF."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

from tai_dpt.errors import InputError

_WIDE_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: str | os.PathLike[str]) -> str:
    """The whole file as one string, without BOM; line ends become ``\\n``.

    Raises:
        InputError: there is no such file, it is a folder, it is empty or it is not UTF-8.
    """
    return "\n".join(line for _, line in read_lines(path))


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file as ``(line number from 1, line without its end)``, one at a time.

    Raises:
        InputError: there is no such file, it is a folder, it is empty, or a byte is not UTF-8 —
            the message gives its position and the command that converts the file.
    """
    path = Path(path)
    position = 0
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; a text file is needed")
        stream = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    with stream:
        for number, raw in enumerate(stream, start=1):
            if number == 1:
                for bom, encoding in _WIDE_BOMS.items():
                    if raw.startswith(bom):
                        raise _not_utf8(path, 0, 1, encoding)
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, position + error.start, number, "LATIN1") from None
            position += len(raw)
            if number == 1:
                line = line.removeprefix("\ufeff")
            yield number, line.rstrip("\r\n")
    if position == 0:
        raise InputError(f"{path} is empty")


def _not_utf8(path: Path, position: int, line: int, encoding: str) -> InputError:
    return InputError(
        f"{path} is not UTF-8: byte {position} (line {line}) cannot be decoded; convert it, e.g. "
        f"iconv -f {encoding} -t UTF-8 '{path.name}' > 'utf8-{path.name}'"
    )
