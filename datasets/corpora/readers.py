"""Captions out of the files people have them in."""

from __future__ import annotations

import glob
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from tai_dpt.datasets.corpora.columns import caption_column
from tai_dpt.datasets.corpora.json_layouts import LAYOUTS, layout_of
from tai_dpt.datasets.corpora.parquet import PARQUET, parquet_entries
from tai_dpt.datasets.corpora.records import (
    CAPTION,
    Bad,
    Entries,
    Note,
    Record,
    called,
    from_object,
    record,
)
from tai_dpt.datasets.corpora.tables import BadRow, table_rows
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.reading import parse_json
from tai_dpt.io.text import decoded_lines, read_lines, without_packing
from tai_dpt.labels.name_tables import SEPARATOR

ON_BAD_LINE = ("error", "skip")
_MOST_BAD = 0.5  # of a file's captions that may be bad and skipped

PathLike = str | os.PathLike[str]


class _Source:
    """The lines of a file or stream, which is opened once: it may be a pipe."""

    def __init__(self, source: PathLike | BinaryIO) -> None:
        if isinstance(source, str | os.PathLike):
            self.name = str(source)
            self.ending = Path(without_packing(self.name.lower())).suffix
            self._lines = read_lines(source, pipe=True)
        else:
            self.name, self.ending = "standard input", ""
            self._lines = decoded_lines(source, self.name)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return self._lines

    def beginning(self) -> list[str]:
        """The first two lines that are not blank; they stay to be read."""
        seen: list[tuple[int, str]] = []
        first: list[str] = []
        for number, line in self._lines:
            seen.append((number, line))
            if line.strip():
                first.append(line)
            if len(first) == 2:
                break
        self._lines = chain(seen, self._lines)
        return first

    def text(self) -> str:
        return "\n".join(line for _, line in self._lines)


def field_from_text(text: str | None) -> str | int | None:
    """The ``field`` that an option's text means: digits are the number of a column."""
    return int(text) if text and text.isascii() and text.isdecimal() else text or None


def caption_files(files: Sequence[PathLike]) -> list[Path]:
    """The files, and those that match in place of a pattern, by name.

    Raises:
        InputError: there are none, one does not exist, or is there twice.
    """
    if not files:
        raise InputError("no caption files given")
    paths: list[Path] = []
    for file in (os.fspath(file) for file in files):
        if os.path.exists(file):
            paths.append(Path(file))
        elif not glob.has_magic(file):
            raise InputError(f"no such caption file: {file}")
        elif found := sorted(glob.glob(file)):
            paths += map(Path, found)
        else:
            raise InputError(f"no caption file matches '{file}'")
    for at, path in enumerate(paths):
        if path.resolve() in {other.resolve() for other in paths[:at]}:
            raise InputError(f"{path} is given twice, by itself or by a pattern: leave one out")
    return paths


def read_captions(
    path: PathLike | BinaryIO,
    *,
    format: str = "auto",
    field: str | int | None = None,
    one_per_image: bool = False,
    on_bad_line: str = "error",
) -> list[str]:
    """The captions of a file, in its order, without surrounding white space; blank ones left out.

    Files are UTF-8, with or without BOM, with LF, CRLF or CR, or such files in gzip (``….gz``) or
    zstd (``….zst``); or Parquet. They are opened once: a pipe will do, but for Parquet.

    Args:
        path: a file, or a binary stream.
        format: one of ``FORMATS``, or "auto": by the file's ending and its beginning.
        field: JSON: the field of the caption; CSV, TSV and Parquet: the name of the column, or its
            number from 0 (in CSV and TSV: there is no header). Left out: "caption", else
            "captions", "text" or "sentence" (Karpathy's splits: "raw"). Upper and lower case are
            one.
        one_per_image: only the first caption of each image, the choice of the public code
            (which draws it at random). Needs a format that says which image.
        on_bad_line: "error", or "skip" with one warning that counts them and gives the first.

    Raises:
        InputError: the file is missing, empty, not UTF-8 or not what ``format`` says, or a line
            is bad (with "skip": more than half of them are); names file, line and reason.
    """
    notes: list[str] = []
    captions = list(
        stream_captions(
            path,
            notes=notes,
            format=format,
            field=field,
            one_per_image=one_per_image,
            on_bad_line=on_bad_line,
        )
    )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return captions


def stream_captions(
    path: PathLike | BinaryIO,
    *,
    notes: list[str],
    format: str = "auto",
    field: str | int | None = None,
    one_per_image: bool = False,
    on_bad_line: str = "error",
) -> Iterator[str]:
    """As ``read_captions``, one caption at a time; a JSON document is read whole.

    What a user should know of the file is added to ``notes`` at its end. That a file has no
    captions, or is bad for the most part, is known there, too.
    """
    if on_bad_line not in ON_BAD_LINE:
        raise unknown("choice for bad lines", on_bad_line, ON_BAD_LINE)
    if format not in ("auto", *FORMATS):
        raise unknown("caption format", format, ["auto", *FORMATS])
    source = _Source(path)
    format, entries = _entries(source, format, CAPTION if field is None else field)
    images: set[str] = set()
    first_bad: Bad | None = None
    said: list[str] = []
    if field is not None and format in _WITHOUT_FIELDS:
        said.append(f"read as {format}, which has no field '{field}'")
    read = bad = captions = 0
    for entry in entries:
        if isinstance(entry, Note):
            said.append(entry.text)
            continue
        if isinstance(entry, Bad):
            if on_bad_line == "error":
                raise InputError(f"{source.name}, {entry.place}: {entry.reason}")
            first_bad = first_bad or entry
            bad += 1
            continue
        read += 1
        if one_per_image:
            if entry.image is None:
                raise InputError(
                    f"{source.name}: one caption per image needs a file that names images"
                )
            if entry.image in images:
                continue
        caption = entry.caption.strip()
        if caption:
            captions += 1
            yield caption
            if one_per_image and entry.image is not None:
                images.add(entry.image)
    if first_bad:
        count = "1 bad line" if bad == 1 else f"{bad:,} bad lines, the first"
        said.append(f"skipped {count}: {first_bad.place}, {first_bad.reason}")
    note = f"{source.name}: {'; '.join(said)}" if said else ""
    if not captions:
        more = f" ({note})" if note else ""
        raise InputError(f"{source.name}: no captions in it, read as {format}{more}")
    if bad > _MOST_BAD * (bad + read):
        raise InputError(f"{note}; that is more than half of it: is it {format}?")
    if note:
        notes.append(note)


def _entries(source: _Source, format: str, field: str | int) -> tuple[str, Entries]:
    """The format, found out where it is "auto", and what the source has in it."""
    if format == "auto":
        format = _guess(source)
    if format == PARQUET:
        return format, parquet_entries(source.name, field)
    if format in LINES:
        return format, LINES[format](source, field)
    content = parse_json(
        source.text(), where=source.name, remedy="is the file whole?", half_characters=True
    )
    if format == _JSON:
        format = layout_of(content, source.name)
    return format, LAYOUTS[format](content, str(field), source.name)


def _jsonl(source: _Source, field: str | int) -> Entries:
    """A JSON object a line."""
    for number, line in source:
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            item = parse_json(line, where=place, half_characters=True)
        except InputError as error:
            yield Bad(place, str(error).removeprefix(f"{place}: "))
            continue
        if number == 1 and isinstance(item, dict) and "annotations" in item:
            raise InputError(
                f"{source.name}: one JSON object, not one a line; read it as format 'coco'"
            )
        yield from from_object(item, str(field), place)


def _narratives(source: _Source, field: str | int) -> Entries:
    """OpenImages localized narratives: JSON lines with ``image_id`` and ``caption``."""
    for number, entry in enumerate(_jsonl(source, field)):
        if number == 0 and isinstance(entry, Record) and entry.image is None:
            raise InputError(f"{source.name}: not localized narratives, line 1 has no 'image_id'")
        yield entry


def _text(source: _Source, field: str | int) -> Entries:
    """A caption a line."""
    for number, line in source:
        if number == 1 and line.startswith(('{"', '[{"')):
            raise InputError(
                f"{source.name}: this is JSON, not plain text; read it as 'jsonl', or as one of "
                f"{', '.join(LAYOUTS)}"
            )
        if "\0" in line:
            raise InputError(f"{source.name}, line {number}: not a text file, it has zero bytes")
        yield record(line, None, f"line {number}")


def _table(source: _Source, field: str | int, *, delimiter: str, quotes: bool) -> Entries:
    column, image = -1, -1
    for row in table_rows(iter(source), delimiter=delimiter, quotes=quotes):
        if isinstance(row, BadRow):
            yield Bad(f"line {row.line}", row.reason)
        elif column >= 0:
            yield record(row[column], row[image] if image >= 0 else None, f"line {row.line}")
        else:
            column, image = caption_column(source.name, row, field)
            if isinstance(field, int):  # there is no header: it is a row
                yield record(row[column], None, f"line {row.line}")


def _csv(source: _Source, field: str | int) -> Entries:
    """Comma-separated, or by what parts the first line; quoted with double quotes."""
    first = next(iter(source.beginning()), "")
    if stated := SEPARATOR.fullmatch(first.strip()):  # Excel's first line
        next(line for _, line in source if line.strip())
        return _table(source, field, delimiter=stated[1], quotes=True)
    parted = {mark: [cell.strip('" ') for cell in first.split(mark)] for mark in ",;\t"}
    if isinstance(field, int):
        delimiter = next((mark for mark in parted if mark in first), ",")
    else:
        delimiter = next((mark for mark in parted if called(field, parted[mark])), ",")
    return _table(source, field, delimiter=delimiter, quotes=True)


def _tsv(source: _Source, field: str | int) -> Entries:
    """Tab-separated; quotes are part of the text."""
    return _table(source, field, delimiter="\t", quotes=False)


_CSV_HEADER = re.compile(r'"?image(_id|_name)?"?[,;]"?caption"?', re.IGNORECASE)
_FLICKR_TOKEN = re.compile(r"([^\s#]+)#\d+\s+(.*)")
_FLICKR_RESULTS = re.compile(r"([^|]+)\|\s*\d+\s*\|(.*)")
_FLICKR_RESULTS_HEADER = re.compile(r"image_name\s*\|\s*comment_number\s*\|\s*comment\s*")


def _flickr(source: _Source, field: str | int) -> Entries:
    """Flickr8k and Flickr30k: ``name.jpg#0<tab>caption``, or ``name.jpg| 0| caption``."""
    for number, line in source:
        if not line.strip() or (number == 1 and _FLICKR_RESULTS_HEADER.fullmatch(line)):
            continue
        place = f"line {number}"
        match = _FLICKR_TOKEN.fullmatch(line) or _FLICKR_RESULTS.fullmatch(line)
        if match:
            yield record(match[2], match[1].strip(), place)
        else:
            yield Bad(place, f"not 'image.jpg#0<tab>caption': {line[:60]!r}")


#: formats that are read a line at a time
LINES: dict[str, Callable[[_Source, str | int], Entries]] = {
    "text": _text,
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "flickr": _flickr,
    "localized_narratives": _narratives,
}

#: the formats of ``read_captions``: the layouts of one JSON document, those of lines, and Parquet
FORMATS = (*LAYOUTS, *LINES, PARQUET)

_WITHOUT_FIELDS = ("text", "flickr")

_JSON = "json"  # one document, of a layout that its content tells
_ENDINGS = {
    ".json": _JSON,
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".tsv": "tsv",
    ".token": "flickr",
}


def _guess(source: _Source) -> str:
    if source.ending == f".{PARQUET}":
        return PARQUET
    first, *more = source.beginning() or [""]
    if _FLICKR_RESULTS_HEADER.fullmatch(first) or _FLICKR_TOKEN.fullmatch(first):
        return "flickr"
    unnamed = not source.ending and first.lstrip().startswith(('{"', "[{", '["'))
    if source.ending == ".json" or unnamed:
        return "jsonl" if _is_object_of_lines(first, alone=not more) else _JSON
    if source.ending in _ENDINGS:
        return _ENDINGS[source.ending]
    if source.ending == ".csv" or _CSV_HEADER.fullmatch(first):
        return "csv"
    return "text"


def _is_object_of_lines(line: str, *, alone: bool) -> bool:
    """Whether a line is an object of its own: JSON lines are often called .json."""
    try:
        item: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(item, dict) and (not alone or "caption" in item)
