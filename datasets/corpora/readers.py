"""Captions out of the files people have them in."""

from __future__ import annotations

import csv
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.text import read_lines, read_text

ON_BAD_LINE = ("error", "skip")


class _Record(NamedTuple):
    caption: str
    image: str | None  # the image the caption speaks of, where the file says it


class _Bad(NamedTuple):
    place: str  # "line 7"
    reason: str


_Entries = Iterator[_Record | _Bad]


class CaptionFile(NamedTuple):
    """What ``read_caption_file`` found."""

    captions: list[str]
    note: str  # on the bad lines that were skipped, "" where there are none


def read_captions(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    field: str | int | None = None,
    one_per_image: bool = False,
    on_bad_line: str = "error",
) -> list[str]:
    """The captions of a file, in its order, without surrounding white space; blank ones left out.

    Files are UTF-8, with or without BOM, with LF or CRLF.

    Args:
        format: one of ``FORMATS``, or "auto": by the file's ending and its first line.
        field: JSON: the field of the caption; CSV and TSV: the name of the column, or its number
            from 0 in a file without header. Left out: "caption".
        one_per_image: only the first caption of each image, the choice of the public code
            (which draws it at random). Needs a format that says which image.
        on_bad_line: "error", or "skip" with one warning that counts them and gives the first.

    Raises:
        InputError: the file is missing, empty, not UTF-8 or not what ``format`` says, or a line
            is bad; names file, line and reason.
    """
    captions, note = read_caption_file(
        path, format=format, field=field, one_per_image=one_per_image, on_bad_line=on_bad_line
    )
    if note:
        warnings.warn(note, stacklevel=2)
    return captions


def read_caption_file(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    field: str | int | None = None,
    one_per_image: bool = False,
    on_bad_line: str = "error",
) -> CaptionFile:
    """As ``read_captions``, with the note on skipped lines returned instead of warned."""
    path = Path(path)
    if on_bad_line not in ON_BAD_LINE:
        raise unknown("choice for bad lines", on_bad_line, ON_BAD_LINE)
    if format == "auto":
        format = _guess(path)
    if format not in FORMATS:
        raise unknown("caption format", format, ["auto", *FORMATS])
    entries = FORMATS[format](path, "caption" if field in (None, "") else field)
    captions: list[str] = []
    images: set[str] = set()
    skipped: list[_Bad] = []
    for entry in entries:
        if isinstance(entry, _Bad):
            if on_bad_line == "error":
                raise InputError(f"{path}, {entry.place}: {entry.reason}")
            skipped.append(entry)
            continue
        if one_per_image:
            if entry.image is None:
                raise InputError(f"{path}: one caption per image needs a file that names images")
            if entry.image in images:
                continue
        caption = entry.caption.strip()
        if caption:
            captions.append(caption)
            if entry.image is not None:
                images.add(entry.image)
    note = ""
    if skipped:
        count = "1 bad line" if len(skipped) == 1 else f"{len(skipped):,} bad lines, the first"
        note = f"{path}: skipped {count}: {skipped[0].place}, {skipped[0].reason}"
    if not captions:
        raise InputError(f"{path}: no captions in it, read as {format}{note and f' ({note})'}")
    return CaptionFile(captions, note)


def _coco(path: Path, field: str | int) -> _Entries:
    """COCO's captions_*.json: ``annotations`` of ``{image_id, id, caption}``."""
    content = _json(read_text(path), path)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        has = ", ".join(content) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise InputError(f"{path}: not COCO captions, there is no list 'annotations' (has: {has})")
    for number, item in enumerate(content["annotations"]):
        yield _from_object(item, str(field), f"annotation {number}")


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        end = " (the file ends there: is it whole?)" if error.pos >= len(text.rstrip()) else ""
        if error.msg.startswith("Unterminated string"):
            end = " (is the file whole?)"
        raise InputError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}{end}"
        ) from None


def _from_object(item: Any, field: str, place: str) -> _Record | _Bad:
    if not isinstance(item, dict):
        return _Bad(place, f"a JSON object is needed, this is a {type(item).__name__}")
    if field not in item:
        return _Bad(place, f"no field '{field}'; it has: {', '.join(item) or 'none'}")
    caption = item[field]
    if not isinstance(caption, str):
        return _Bad(place, f"field '{field}' is {json.dumps(caption)[:40]}, not text")
    image = item.get("image_id", item.get("image"))
    return _Record(caption, None if image is None else str(image))


def _jsonl(path: Path, field: str | int) -> _Entries:
    """A JSON object a line."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            yield _Bad(f"line {number}", f"not valid JSON: {error.msg} at column {error.colno}")
            continue
        if number == 1 and isinstance(item, dict) and "annotations" in item:
            raise InputError(f"{path}: one JSON object, not one a line; read it as format 'coco'")
        yield _from_object(item, str(field), f"line {number}")


def _narratives(path: Path, field: str | int) -> _Entries:
    """OpenImages localized narratives: JSON lines with ``image_id`` and ``caption``."""
    for number, entry in enumerate(_jsonl(path, field)):
        if number == 0 and isinstance(entry, _Record) and entry.image is None:
            raise InputError(f"{path}: not localized narratives, line 1 has no 'image_id'")
        yield entry


def _text(path: Path, field: str | int) -> _Entries:
    """A caption a line."""
    for number, line in read_lines(path):
        if number == 1 and line.startswith(('{"', '[{"')):
            raise InputError(f"{path}: this is JSON, not plain text; read it as 'coco' or 'jsonl'")
        if "\0" in line:
            raise InputError(f"{path}, line {number}: not a text file, it has zero bytes")
        yield _Record(line, None)


def _table(path: Path, field: str | int, dialect: dict[str, Any]) -> _Entries:
    lines = (line + "\n" for _, line in read_lines(path))
    reader = csv.reader(lines, strict=True, **dialect)
    column, image, width = -1, -1, 0
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Bad(place, f"not valid CSV: {error}")
            continue
        if not cells:
            continue
        if not width:
            width = len(cells)
            if isinstance(field, int):
                if not 0 <= field < width:
                    raise InputError(
                        f"{path}: no column number {field}; there are {width}, counted from 0"
                    )
                column = field
            else:
                header = [cell.strip() for cell in cells]
                if field not in header:
                    raise InputError(
                        f"{path}: no column '{field}'; the first line has: {', '.join(header)} "
                        "(give the column's number from 0 where there is no header)"
                    )
                column = header.index(field)
                names = [name for name in ("image_id", "image", "image_name") if name in header]
                image = header.index(names[0]) if names else -1
                continue
        if len(cells) != width:
            yield _Bad(place, f"{len(cells)} columns where the first line has {width}")
            continue
        yield _Record(cells[column], cells[image] if image >= 0 else None)


def _csv(path: Path, field: str | int) -> _Entries:
    """Comma-separated, quoted with double quotes."""
    return _table(path, field, {"delimiter": ","})


def _tsv(path: Path, field: str | int) -> _Entries:
    """Tab-separated; quotes are part of the text."""
    return _table(path, field, {"delimiter": "\t", "quoting": csv.QUOTE_NONE})


_FLICKR_TOKEN = re.compile(r"([^\s#]+)#\d+\s+(.*)")
_FLICKR_RESULTS = re.compile(r"([^|]+)\|\s*\d+\s*\|(.*)")
_FLICKR_RESULTS_HEADER = re.compile(r"image_name\s*\|\s*comment_number\s*\|\s*comment\s*")


def _flickr(path: Path, field: str | int) -> _Entries:
    """Flickr8k and Flickr30k: ``name.jpg#0<tab>caption``, or ``name.jpg| 0| caption``."""
    for number, line in read_lines(path):
        if not line.strip() or (number == 1 and _FLICKR_RESULTS_HEADER.fullmatch(line)):
            continue
        match = _FLICKR_TOKEN.fullmatch(line) or _FLICKR_RESULTS.fullmatch(line)
        if match:
            yield _Record(match[2], match[1].strip())
        else:
            yield _Bad(f"line {number}", f"not 'image.jpg#0<tab>caption': {line[:60]!r}")


#: the formats of ``read_captions``
FORMATS: dict[str, Callable[[Path, str | int], _Entries]] = {
    "coco": _coco,
    "text": _text,
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "flickr": _flickr,
    "localized_narratives": _narratives,
}

_ENDINGS = {
    ".json": "coco",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".tsv": "tsv",
    ".token": "flickr",
}


def _guess(path: Path) -> str:
    first = next((line for _, line in read_lines(path) if line.strip()), "")
    if _FLICKR_RESULTS_HEADER.fullmatch(first) or _FLICKR_TOKEN.fullmatch(first):
        return "flickr"
    ending = path.suffix.lower()
    if ending == ".json" and first.lstrip().startswith("{"):
        try:  # JSON lines are often called .json: then the first line is an object of its own
            if "annotations" not in json.loads(first):
                return "jsonl"
        except json.JSONDecodeError:
            return "coco"
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    if ending == ".csv" or first in ("image,caption", "image_id,caption"):
        return "csv"
    return "text"
