"""Label files of anybody's images: CSV, TSV or JSON lines.

CSV and TSV have a header and a column with the image's name (``IMAGE_COLUMNS``), then either one
column a class, or one column with the names of the classes in the image (``LABEL_COLUMNS``, where
that is no class itself). What parts the columns of the header parts them all: commas, semicolons or
tabs. JSON lines are objects such as ``{"image": "a.jpg", "labels": ["dog", "car"]}``; with a list
``absent`` beside it, classes that neither names are unknown.
"""

from __future__ import annotations

import ast
import csv
import math
import os
import posixpath
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError, shorten, unknown
from tai_dpt.io.reading import json_kind, parse_json, shown_value
from tai_dpt.io.text import read_lines
from tai_dpt.labels.name_tables import SEPARATOR
from tai_dpt.labels.spelling import normalise
from tai_dpt.labels.vocabulary import Vocabulary

IMAGE_COLUMNS = (
    *("image", "file", "path", "image_path", "file_name", "filename", "image_name", "file_path"),
    *("filepath", "image_id", "img", "img_path", "image_file"),
)
LABEL_COLUMNS = (
    *("labels", "tags", "label", "classes", "class", "label_name", "class_name", "category"),
    *("categories", "tag"),
)
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
ZEROS = ("absent", "unknown")

# what a cell of a class's column may hold beside numbers, in lower case
# (Excel translates true and false)
_WORDS = {
    **dict.fromkeys(("true", "yes", "y", "t", "wahr", "vrai", "verdadero", "vero"), 1),
    **dict.fromkeys(("false", "no", "n", "f", "falsch", "faux", "falso"), -1),
}
_UNKNOWN = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "?"}
# beside a column of class names: one of these says that a row is an object in an image
_BOXES = {"xmin", "x min", "bbox", "x1", "left", "bbox x"}
# and these how sure a label is; 0 is what annotators looked for in vain
_SURE = ("confidence", "score", "probability")
_LISTED = re.compile(r"\[.*\]|\(.*\)|\{.*\}", re.DOTALL)
# the header that pandas gives, or reads, where a table has its rows' numbers in front
_ROW_NUMBERS = re.compile(r"|unnamed: \d+")


def config_key(option: str) -> str:
    """What a configuration calls an option of ``read_label_file``."""
    return f"DATASET.IMAGE_LIST.{option.upper()}"


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
    present_from: float = 0.0,
    called: Callable[[str], str] = config_key,
) -> LabelFile:
    """Read a label file; UTF-8, with or without BOM, with LF or CRLF.

    In a class's column, 1 (true, yes) is present and an empty cell unknown. A 0 (false, no) is
    absent, and so is a -1; a file that has both must be explained by ``zero``. Where classes are
    listed by name, those that are not listed are absent. Classes are found by any of their names
    or synonyms. A column of row numbers without a name, as pandas writes it, is passed over.

    Args:
        separator: the characters that may part the names in a ``labels`` column; a class whose
            own name has one of them is found all the same.
        zero: what a 0 is in a file that has -1 too: "absent" (then -1 is unknown) or "unknown"
            (then -1 is absent).
        skip_columns: columns that are no classes.
        present_from: soft labels are allowed, numbers from 0 to 1, and say that a class is there
            from this one on, and absent below; 0: there are none.
        called: what the user sets each of these options by, for messages.

    An image has one line; only where columns of boxes stand beside the names (``xmin``, ``bbox``)
    is a line an object, and an image has all that its lines say.

    Raises:
        InputError: anything in it that is not as described, with the line and the valid values.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: a label file ends in {', '.join(ENDINGS)}, not in '{ending}'")
    if zero and zero not in ZEROS:
        raise unknown(f"meaning of 0 ({called('zero')})", zero, ZEROS)
    if not 0 <= present_from <= 1:
        raise InputError(
            f"{called('present_from')} is {present_from}; it must lie between 0 (no soft "
            "labels) and 1"
        )
    reader = _Reader(path, vocabulary, separator, zero, skip_columns, present_from, called)
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
        present_from: float,
        called: Callable[[str], str],
    ) -> None:
        self.path = path
        self.vocabulary = vocabulary
        self.separator = separator
        self.zero = zero
        self.skip = {normalise(name) for name in skip_columns}
        self.present_from = present_from
        self.called = called
        self.class_of = vocabulary.index_by_any_name()
        self.label_columns = [
            name
            for name in LABEL_COLUMNS
            if name not in self.class_of and normalise(name) not in self.skip
        ]
        self.above = 0  # lines before the header
        self.objects = False  # whether a line is an object, not an image
        self.line_of: dict[str, int] = {}
        self.first_line: dict[str, int] = {}  # of each image, its name in one spelling
        self.rows: list[NDArray[np.int8]] = []
        self.row_of: dict[str, NDArray[np.int8]] = {}  # those of ``rows`` by the image

    def json_lines(self) -> None:
        for number, line in read_lines(self.path):
            if not line.strip():
                continue
            item = parse_json(line, where=f"{self.path}, line {number}")
            if not isinstance(item, dict):
                raise self._bad(number, f"a JSON object is needed, not {json_kind(item)}")
            fields = [name for name in IMAGE_COLUMNS if name in item]
            if not fields:
                raise self._bad(number, f"no field 'image'; it has: {', '.join(item) or 'none'}")
            image = item[fields[0]]
            if isinstance(image, float) and image.is_integer():  # 12.0, as pandas writes numbers
                image = int(image)
            if isinstance(image, bool) or not isinstance(image, str | int):
                raise self._bad(
                    number, f"'{fields[0]}' is {shown_value(image)}, not the image's name"
                )
            labels: Any = next((item[key] for key in self.label_columns if key in item), None)
            if isinstance(labels, str):
                labels = self._parts(labels)
            if not isinstance(labels, list) or not all(isinstance(v, str) for v in labels):
                raise self._bad(
                    number, "field 'labels' must be a list of class names, [] where there is none"
                )
            row = self._named(number, labels)
            if "absent" in item:
                row = self._only_known(number, row, item["absent"])
            self._add(number, str(image), row)

    def table(self, delimiter: str) -> None:
        lines = (line + "\n" for _, line in read_lines(self.path))
        first, stated = "", None
        for first in lines:
            if stated is None and (stated := SEPARATOR.fullmatch(first.strip())):
                delimiter = stated[1]  # Excel's first line
            elif first.strip() and not first.startswith("# "):
                break
            self.above += 1
        for mark in (delimiter, ";", "\t", ",", "|"):
            header = [
                cell.strip() for cell in self._next(csv.reader([first], delimiter=mark)) or ()
            ]
            lower = [_column(cell) for cell in header]
            image = _place(IMAGE_COLUMNS, lower)
            if image is not None:
                break
        else:
            raise InputError(
                f"{self.path}: its first line has no column for the image ("
                f"{', '.join(IMAGE_COLUMNS)}), it is '{first.strip()[:80]}'"
            )
        listed = _place(self.label_columns, lower)
        self.objects = listed is not None and not _BOXES.isdisjoint(map(normalise, header))
        sure = _place(_SURE, lower) if listed is not None else None
        special = map(_column, (*IMAGE_COLUMNS, *self.label_columns))
        doubled = [name for name in special if lower.count(name) > 1]
        if doubled:
            raise InputError(f"{self.path}: more than one column is called '{doubled[0]}'")
        if listed is not None:
            self._check_listed(header, image, listed)
        columns = {} if listed is not None else self._class_columns(header, image)
        other = "," if mark == ";" else ";"
        seen: dict[str, int] = {}  # zeros and minus ones: the first line of each
        reader = csv.reader(lines, delimiter=mark, strict=True)
        while (cells := self._next(reader)) is not None:
            if not any(cells):  # below a spreadsheet's last row
                continue
            number = reader.line_num + 1 + self.above
            if len(cells) != len(header):
                raise self._bad(
                    number,
                    f"{len(cells)} cells where the first line has {len(header)}"
                    + (f"; part the labels with '{other}'" if listed is not None else ""),
                )
            if listed is not None:
                row = self._named(number, self._parts(cells[listed]))
                if sure is not None and _number(cells[sure]) == 0:
                    raise self._bad(
                        number,
                        f"column '{header[sure]}' is 0, and a line says what is there; leave such "
                        "lines out, or name the class under 'absent' in JSON lines",
                    )
            else:
                row = self._values(number, cells, columns, header, seen)
            self._add(number, cells[image], row)

    def _next(self, reader: Iterator[list[str]]) -> list[str] | None:
        try:
            return next(reader, None)
        except csv.Error as error:
            number = getattr(reader, "line_num", 0) + 1 + self.above
            raise self._bad(number, f"not valid CSV: {error}") from None

    def _check_listed(self, header: Sequence[str], image: int, listed: int) -> None:
        """Raise InputError where there are columns of classes beside the one that names them."""
        for place, name in enumerate(header):
            known = normalise(name) in self.class_of and normalise(name) not in self.skip
            if known and place not in (image, listed):
                raise InputError(
                    f"{self.path}: '{header[listed]}' names the classes, and the column '{name}' "
                    f"is one; {self.called('skip_columns')} names the columns that do not count"
                )

    def _class_columns(self, header: Sequence[str], image: int) -> dict[int, int]:
        """Class of each column that is one."""
        columns: dict[int, int] = {}
        for place, name in enumerate(header):
            if place == image or normalise(name) in self.skip:
                continue
            if _ROW_NUMBERS.fullmatch(name.lower()):
                continue
            index = self.class_of.get(normalise(name))
            if index is None:
                raise InputError(
                    f"{self.path}: column {unknown('class', name, self.vocabulary.names)}; "
                    f"{self.called('skip_columns')} names the columns that are no classes"
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
            if cell in _UNKNOWN:
                continue
            value = _WORDS.get(cell, _number(cell))
            if 0 < value < 1 or (value == 0 and self.present_from):
                row[index] = self._soft(number, cells[place], header[place], value)
            elif value in (0, -1) and cell not in _WORDS:
                seen.setdefault("0" if value == 0 else "-1", number)
                if len(seen) == 2 and not self.zero:
                    raise self._bad(
                        max(seen.values()),
                        f"the file has both 0 and -1; say with {self.called('zero')} what a 0 "
                        "is: absent (then -1 is unknown) or unknown (then -1 is absent)",
                    )
                unknown_value = {"absent": -1, "unknown": 0}.get(self.zero)
                row[index] = 0 if value == unknown_value else -1
            elif value in (1, -1):
                row[index] = value
            else:
                raise self._bad(
                    number,
                    f"'{shorten(cells[place])}' in column '{header[place]}'; a label is 1, 0, -1 "
                    "or empty",
                )
        return row

    def _soft(self, number: int, cell: str, column: str, value: float) -> int:
        if not self.present_from:
            raise self._bad(
                number,
                f"'{cell}' in column '{column}' is a soft label; say with "
                f"{self.called('present_from')} from which number on a class is there, or write "
                "1, 0, -1 or nothing",
            )
        return 1 if value >= self.present_from else -1

    def _parts(self, cell: str) -> list[str]:
        """The names in a cell: the longest that is a class's, else up to the next separator.

        A list as pandas, NumPy or a labelling tool writes one is one: "['dog', 'car']",
        "['dog' 'car']", "{'choices': ['dog', 'car']}".
        """
        cell = cell.strip()
        if _LISTED.fullmatch(cell) and normalise(cell) not in self.class_of:
            # ast's own for what is no list, nested without end, or has a list for a key
            with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                value = ast.literal_eval(re.sub(r"""(?<=['"])\s+(?=['"])""", ", ", cell))
                if isinstance(value, dict) and len(value) == 1:
                    (value,) = value.values()
                if isinstance(value, list | tuple | set):
                    return sorted(map(str, value)) if isinstance(value, set) else [*map(str, value)]
            cell = cell[1:-1]
        cell = ";".join(cell.splitlines()) if ";" in self.separator else cell
        return self._split(cell, self.separator)

    def _split(self, cell: str, separator: str) -> list[str]:
        pieces = re.split(f"([{re.escape(separator)}])", cell) if separator else [cell]
        parts, start = [], 0  # at even places names, at odd ones separators
        while start < len(pieces):
            ends = range(len(pieces), start + 1, -2)
            joined = {end: "".join(pieces[start:end]) for end in ends}
            end = next((e for e, text in joined.items() if normalise(text) in self.class_of), None)
            end = start + 1 if end is None else end
            parts.append("".join(pieces[start:end]).strip())
            start = end + 1
        return [part for part in parts if part]

    def _named(self, number: int, labels: Sequence[str]) -> NDArray[np.int8]:
        row = np.full(len(self.vocabulary), -1, np.int8)
        for label in labels:
            index = self.class_of.get(normalise(label))
            if index is None:
                reason = str(unknown("class", label, self.vocabulary.names))
                raise self._bad(number, reason + self._hint(label))
            row[index] = 1
        return row

    def _hint(self, label: str) -> str:
        """What parts the names where a label is several classes with something between them."""
        for mark in " /&+:":
            parts = self._split(label, mark)
            if len(parts) > 1 and all(normalise(part) in self.class_of for part in parts):
                return f"; if '{mark}' parts names, say so with {self.called('separator')}"
        return ""

    def _only_known(self, number: int, row: NDArray[np.int8], absent: Any) -> NDArray[np.int8]:
        """A row of ``_named`` where classes are listed as absent, too: all others are unknown."""
        if not isinstance(absent, list) or not all(isinstance(v, str) for v in absent):
            raise self._bad(number, "field 'absent' must be a list of class names")
        listed = self._named(number, absent) > 0
        if (both := listed & (row > 0)).any():
            name = self.vocabulary.names[int(both.argmax())]
            raise self._bad(number, f"'{name}' is in 'labels' and in 'absent'")
        return np.where(row > 0, row, -listed.astype(np.int8))

    def _add(self, number: int, image: str, row: NDArray[np.int8]) -> None:
        name = image.strip()
        if not name or "\0" in name:
            raise self._bad(number, f"the image's name is {'not text' if name else 'empty'}")
        # one image, however it is written: ./a.jpg, .\\a.jpg
        key = posixpath.normpath(image.replace("\\", "/"))
        first = self.first_line.setdefault(key, number)
        if first != number and self.objects:
            np.maximum(self.row_of[key], row, out=self.row_of[key])
            return
        if first != number:
            raise self._bad(
                number,
                f"image '{name}' was in line {first} already; write all that is in it in one line",
            )
        self.row_of[key] = row
        self.line_of[image] = number  # blanks around it may be its own: see ``locate``
        self.rows.append(row)

    def _bad(self, number: int, reason: str) -> InputError:
        return InputError(f"{self.path}, line {number}: {reason}")


def _place(names: Sequence[str], header: Sequence[str]) -> int | None:
    """Where a header, as ``_column`` gives it, has the first of the names that it has."""
    return next((header.index(n) for n in map(_column, names) if n in header), None)


def _column(name: str) -> str:
    """How the names of columns are compared: ``image_id``, ``Image Id`` and ``ImageID`` are one."""
    return normalise(name).replace(" ", "")


def _number(cell: str) -> float:
    try:
        return float(cell.replace(",", "."))  # as spreadsheets of half of Europe write it
    except ValueError:
        return math.nan
