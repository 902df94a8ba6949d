"""Tags as lines: a table, JSON lines or CSV, and how an interrupted file goes on."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

from tai_dpt.errors import InputError, shorten
from tai_dpt.io.console import shown
from tai_dpt.io.json_text import json_text
from tai_dpt.io.opening import open_file
from tai_dpt.io.reading import parse_json
from tai_dpt.io.spreadsheets import as_given, csv_lines

FORMATS = ("table", "jsonl", "csv", "parquet", "coco", "xmp")
CSV_HEADER = ("image", "class", "probability", "score")


class Tag(NamedTuple):
    """A class that is in an image."""

    name: str
    probability: float | None  # None: the tagger is not calibrated
    score: float


def lines_for(format: str, image: str, tags: list[Tag], *, width: int = 0) -> str:
    """The lines of one image, with their ends.

    Args:
        width: of the first column of a table.
    """
    if format == "table":
        said = "  ".join(f"{tag.name} {_short(tag)}" for tag in tags) or "–"
        return f"{shown(image):<{width}}  {said}\n"
    if format == "csv":
        rows = [(image, t.name, _round(t.probability), _significant(t.score)) for t in tags]
        return csv_lines(rows or [(image, "", "", "")])
    return json_text(record(image, tags)) + "\n"


def record(image: str, tags: list[Tag] | None, error: str | None = None) -> dict[str, Any]:
    """What JSON says of an image; ``tags`` are None where it cannot be read."""
    if tags is None:
        return {"image": image, "error": error}
    labels = [
        {"class": t.name, "probability": _round(t.probability), "score": _significant(t.score)}
        for t in tags
    ]
    return {"image": image, "labels": labels}


def lines_for_error(format: str, image: str, error: str) -> str:
    """The lines of an image that cannot be read: only JSON lines have room for it."""
    return json_text(record(image, None, error)) + "\n" if format == "jsonl" else ""


def header(format: str) -> str:
    """What a file of the format begins with."""
    return csv_lines([CSV_HEADER]) if format == "csv" else ""


class Held(NamedTuple):
    """The images that a file speaks of."""

    done: set[str]
    unreadable: set[str]  # lines of JSON say so


def held_images(path: Path, format: str) -> Held:
    """The images that an interrupted file holds; what it holds of a torn last one is cut off.

    Raises:
        InputError: it is a file of another format.
    """
    with open_file(path) as source:
        content = source.read()
    whole = content[: content.rfind(b"\n") + 1]
    text = whole.decode("utf-8", "surrogateescape")
    if format == "csv":
        held, kept = _taken_from_csv(path, text)
    elif format == "jsonl":
        held, kept = _taken_from_jsonl(path, text), text
    else:
        raise InputError("--resume goes with --format jsonl or csv: a table cannot be read back")
    if kept != text or whole != content:
        with path.open("r+b") as stream:
            stream.write(kept.encode("utf-8", "surrogateescape"))
            stream.truncate()
            os.fsync(stream.fileno())
    return held


def _taken_from_csv(path: Path, text: str) -> tuple[Held, str]:
    if not text:
        return Held(set(), set()), ""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV of tags ({error}); start afresh") from None
    if not rows or tuple(rows[0]) != CSV_HEADER or any(len(row) != 4 for row in rows):
        raise InputError(f"{path} is no CSV of tags (its first line is {shorten(text)!r})")
    rows = [[as_given(cell) for cell in row] for row in rows[1:]]
    last = rows[-1][0] if rows else None  # perhaps not all of its rows are there
    rows = [row for row in rows if row[0] != last]
    return Held({row[0] for row in rows}, set()), csv_lines([CSV_HEADER, *rows])


def _taken_from_jsonl(path: Path, text: str) -> Held:
    held = Held(set(), set())
    # a file name may hold what splitlines takes for the end of a line (U+2028, U+0085)
    for number, line in enumerate(text.split("\n")[:-1], 1):
        where = f"{path}, line {number}"
        record = parse_json(line, where=where, half_characters=True)
        if not isinstance(record, dict) or not isinstance(record.get("image"), str):
            raise InputError(f"{where}: not a line of tags; start afresh")
        (held.done if "labels" in record else held.unreadable).add(record["image"])
    return held


def _short(tag: Tag) -> str:
    return f"{tag.score:.3g}" if tag.probability is None else f"{tag.probability:.2f}"


def _significant(score: float) -> float:
    """Six digits, wherever they begin: methods' scores are of 10 or of a thousandth."""
    return float(f"{score:.6g}")


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
