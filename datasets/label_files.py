"""Label files of anybody's images: CSV, TSV or JSON lines.

CSV and TSV have a header and a column with the image's name (``IMAGE_COLUMNS``), then either one
column a class, or one column with the names of the classes in the image (``LABEL_COLUMNS``). JSON
lines are objects such as ``{"image": "a.jpg", "labels": ["dog", "car"]}``.
"""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.text import read_lines
from tai_dpt.labels.spelling import normalise
from tai_dpt.labels.vocabulary import Vocabulary

IMAGE_COLUMNS = ("image", "file", "path", "image_path", "file_name", "filename", "image_name")
LABEL_COLUMNS = ("labels", "tags")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
ZEROS = ("absent", "unknown")

# what a cell of a class's column may hold, in lower case; a zero and a -1 are settled per file
_PRESENT = {"1", "1.0", "true", "yes"}
_ABSENT = {"false", "no"}
_UNKNOWN = {"", "nan"}
_ZERO = {"0", "0.0"}
_MINUS = {"-1", "-1.0"}


class LabelFile(NamedTuple):
    """Images as their file calls them, and their labels."""

    names: list[str]
    labels: NDArray[np.int8]  # (n, C): 1 present, -1 absent, 0 unknown


def read_label_file(
    path: str | os.PathLike[str],
    vocabulary: Vocabulary,
    *,
    separator: str = ";|,",
    zero: str = "",
    skip_columns: Sequence[str] = (),
) -> LabelFile:
    """Read a label file; UTF-8, with or without BOM, with LF or CRLF.

    In a class's column, 1 (true, yes) is present and an empty cell unknown. A 0 (false, no) is
    absent, and so is a -1; a file that has both must be explained by ``zero``. Where classes are
    listed by name, those that are not listed are absent. Classes are found by any of their names
    or synonyms.

    Args:
        separator: the characters that may part the names in a ``labels`` column.
        zero: what a 0 is in a file that has -1 too: "absent" (then -1 is unknown) or "unknown"
            (then -1 is absent).
        skip_columns: columns that are no classes.

    Raises:
        InputError: anything in it that is not as described, with the line and the valid values.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: a label file ends in {', '.join(ENDINGS)}, not in '{ending}'")
    if zero and zero not in ZEROS:
        raise unknown("meaning of 0 (DATASET.IMAGE_LIST.ZERO)", zero, ZEROS)
    reader = _Reader(path, vocabulary, separator, zero, skip_columns)
    if ending in (".jsonl", ".ndjson"):
        reader.json_lines()
    else:
        reader.table("\t" if ending == ".tsv" else ",")
    if not reader.line_of:
        raise InputError(f"{path}: no images in it")
    return LabelFile(list(reader.line_of), np.stack(reader.rows))


class _Reader:
    """One label file being read: ``line_of`` (image -> line) and ``rows`` grow."""

    def __init__(
        self,
        path: Path,
        vocabulary: Vocabulary,
        separator: str,
        zero: str,
        skip_columns: Sequence[str],
    ) -> None:
        self.path = path
        self.vocabulary = vocabulary
        self.separator = separator
        self.zero = zero
        self.skip = {normalise(name) for name in skip_columns}
        self.class_of = vocabulary.index_by_any_name()
        self.line_of: dict[str, int] = {}
        self.rows: list[NDArray[np.int8]] = []

    def json_lines(self) -> None:
        for number, line in read_lines(self.path):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except json.JSONDecodeError as error:
                raise self._bad(number, f"not valid JSON: {error.msg}") from None
            if not isinstance(item, dict):
                raise self._bad(number, f"a JSON object is needed, not a {type(item).__name__}")
            names = [name for name in IMAGE_COLUMNS if isinstance(item.get(name), str)]
            if not names:
                raise self._bad(number, f"no field 'image'; it has: {', '.join(item) or 'none'}")
            labels: Any = next((item[key] for key in LABEL_COLUMNS if key in item), None)
            if not isinstance(labels, list) or not all(isinstance(v, str) for v in labels):
                raise self._bad(
                    number, "field 'labels' must be a list of class names, [] where there is none"
                )
            self._add(number, item[names[0]], self._named(number, labels))

    def table(self, delimiter: str) -> None:
        reader = csv.reader(
            (line + "\n" for _, line in read_lines(self.path)), delimiter=delimiter, strict=True
        )
        cells = self._next(reader)
        header = [cell.strip() for cell in cells or ()]
        lower = [normalise(cell) for cell in header]
        image = next((lower.index(name) for name in IMAGE_COLUMNS if name in lower), None)
        if image is None:
            hint = "; separate columns with commas" if len(header) == 1 and ";" in header[0] else ""
            raise InputError(
                f"{self.path}: its first line has no column for the image ("
                f"{', '.join(IMAGE_COLUMNS)}), it is '{delimiter.join(header)[:80]}'{hint}"
            )
        listed = next((lower.index(name) for name in LABEL_COLUMNS if name in lower), None)
        columns = {} if listed is not None else self._class_columns(header, image)
        seen: dict[str, int] = {}  # zeros and minus ones: the first line of each
        while (cells := self._next(reader)) is not None:
            if not cells:
                continue
            number = reader.line_num
            if len(cells) != len(header):
                raise self._bad(
                    number,
                    f"{len(cells)} cells where the first line has {len(header)}"
                    + ("; part the labels with ';'" if listed is not None else ""),
                )
            if listed is not None:
                row = self._named(number, self._parts(cells[listed]))
            else:
                row = self._values(number, cells, columns, header, seen)
            self._add(number, cells[image], row)

    def _next(self, reader: Iterator[list[str]]) -> list[str] | None:
        try:
            return next(reader, None)
        except csv.Error as error:
            raise self._bad(getattr(reader, "line_num", 0), f"not valid CSV: {error}") from None

    def _class_columns(self, header: Sequence[str], image: int) -> dict[int, int]:
        """Class of each column that is one."""
        columns: dict[int, int] = {}
        for place, name in enumerate(header):
            if place == image or normalise(name) in self.skip:
                continue
            index = self.class_of.get(normalise(name))
            if index is None:
                raise InputError(
                    f"{self.path}: column {unknown('class', name, self.vocabulary.names)}; "
                    "DATASET.IMAGE_LIST.SKIP_COLUMNS names the columns that are no classes"
                )
            if index in columns.values():
                first = header[next(p for p, i in columns.items() if i == index)]
                raise InputError(
                    f"{self.path}: columns '{first}' and '{name}' are both the class "
                    f"'{self.vocabulary.names[index]}'"
                )
            columns[place] = index
        without = [n for i, n in enumerate(self.vocabulary.names) if i not in columns.values()]
        if len(without) == len(self.vocabulary):
            raise InputError(f"{self.path}: it has neither class columns nor a column 'labels'")
        if without:
            warnings.warn(
                f"{self.path}: no column for {len(without)} of {len(self.vocabulary)} classes, "
                f"their labels are unknown: {', '.join(without)}",
                stacklevel=2,
            )
        return columns

    def _values(
        self,
        number: int,
        cells: Sequence[str],
        columns: dict[int, int],
        header: Sequence[str],
        seen: dict[str, int],
    ) -> NDArray[np.int8]:
        row = np.zeros(len(self.vocabulary), np.int8)
        for place, index in columns.items():
            cell = cells[place].strip().lower()
            if cell in _PRESENT:
                row[index] = 1
            elif cell in _ABSENT:
                row[index] = -1
            elif cell in _ZERO or cell in _MINUS:
                what = "0" if cell in _ZERO else "-1"
                seen.setdefault(what, number)
                if len(seen) == 2 and not self.zero:
                    raise self._bad(
                        max(seen.values()),
                        "the file has both 0 and -1; say with DATASET.IMAGE_LIST.ZERO what a 0 "
                        "is: absent (then -1 is unknown) or unknown (then -1 is absent)",
                    )
                unknown_value = {"absent": "-1", "unknown": "0"}.get(self.zero)
                row[index] = 0 if what == unknown_value else -1
            elif cell not in _UNKNOWN:
                raise self._bad(
                    number,
                    f"'{cells[place]}' in column '{header[place]}'; a label is 1, 0, -1 or empty",
                )
        return row

    def _parts(self, cell: str) -> list[str]:
        for character in self.separator:
            cell = cell.replace(character, "\n")
        return [part for part in map(str.strip, cell.split("\n")) if part]

    def _named(self, number: int, labels: Sequence[str]) -> NDArray[np.int8]:
        row = np.full(len(self.vocabulary), -1, np.int8)
        for label in labels:
            index = self.class_of.get(normalise(label))
            if index is None:
                raise self._bad(number, str(unknown("class", label, self.vocabulary.names)))
            row[index] = 1
        return row

    def _add(self, number: int, image: str, row: NDArray[np.int8]) -> None:
        name = image.strip()
        if not name:
            raise self._bad(number, "the image's name is empty")
        first = self.line_of.setdefault(name, number)
        if first != number:
            raise self._bad(number, f"image '{name}' was in line {first} already")
        self.rows.append(row)

    def _bad(self, number: int, reason: str) -> InputError:
        return InputError(f"{self.path}, line {number}: {reason}")
