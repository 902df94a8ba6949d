"""Class names out of a table whose first line says which column has them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from tai_dpt.errors import InputError, first_few, shorten
from tai_dpt.io.text import read_lines

#: the endings of files that are tables even where their head says little
TABLES = (".csv", ".tsv")
#: what stands above a column of class names
NAMES_HEAD = re.compile(
    r"((class|category|label|display)[ _]?)?names?|class(es)?|categor(y|ies)|labels?", re.IGNORECASE
)
#: the line with which Excel says what parts the columns
SEPARATOR = re.compile(r'"?sep=([,;|\t:])"?')
_SYNONYMS_HEAD = re.compile(r"synonyms?|alias(es)?", re.IGNORECASE)
_NUMBERS_HEAD = re.compile(
    r"|#|((class|category|label)[ _]?)?(id|index|idx|no\.?|nr\.?|number)|unnamed: 0",
    re.IGNORECASE,
)

_LONGEST_HEAD = 1_000  # characters; more is no head


def class_table(path: Path) -> dict[str, tuple[str, ...]] | None:
    r"""Synonyms by class name out of a table, in its order; None where the file is none.

    It is one where its first line names a column of names, and any others hold synonyms (parted
    by semicolons, bars or commas) or numbers; in a .csv or .tsv other columns are left aside.

    Raises:
        InputError: a table that does not say which column has the names, or a bad row of one.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "classes.csv")
    ...     _ = path.write_text("id,name,synonyms\n0,dog,puppy|hound\n1,cat,\n")
    ...     class_table(path)
    {'dog': ('puppy', 'hound'), 'cat': ()}
    """
    lines = [(number, line) for number, line in read_lines(path) if line.strip()]
    lines = [entry for entry in lines if not entry[1].startswith(("# ", "#\t"))]
    stated = SEPARATOR.fullmatch(lines[0][1].strip()) if lines else None
    lines = lines[bool(stated) :]
    if not lines:
        return None
    first = lines[0][1][:_LONGEST_HEAD]
    is_table = path.suffix.lower() in TABLES
    for mark in stated[1] if stated else ",;\t":
        head = [cell.strip() for cell in next(csv.reader([first], delimiter=mark))]
        named = [at for at, cell in enumerate(head) if NAMES_HEAD.fullmatch(cell)]
        others = [cell for at, cell in enumerate(head) if at not in named]
        known = all(_SYNONYMS_HEAD.fullmatch(c) or _NUMBERS_HEAD.fullmatch(c) for c in others)
        if len(head) < 2 or not named or not (known or is_table):
            continue
        if len(named) > 1:
            columns = " and ".join(repr(head[at]) for at in named)
            raise InputError(f"{path}: {columns} may both have the names; leave one column of them")
        return _read(path, lines[1:], mark, head, named[0])
    for mark in ",;\t" if is_table else "":
        rows = csv.reader([line for _, line in lines], delimiter=mark)
        if any(len([cell for cell in row if cell.strip()]) > 1 for row in rows):
            raise InputError(
                f"{path}: a table whose first line, {shorten(lines[0][1])!r}, does not say which "
                "column has the names; write name above it"
            )
    return None


def _read(
    path: Path, lines: list[tuple[int, str]], mark: str, head: list[str], column: int
) -> dict[str, tuple[str, ...]]:
    other = next((at for at, cell in enumerate(head) if _SYNONYMS_HEAD.fullmatch(cell)), None)
    found: dict[str, tuple[str, ...]] = {}
    for number, line in lines:
        where = f"{path}, line {number}: "
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=mark, strict=True))]
        except csv.Error as error:
            raise InputError(f"{where}no row of a table ({error})") from None
        cells += [""] * (len(head) - len(cells))  # a row may end with its last word
        if len(cells) != len(head):
            raise InputError(f"{where}{len(cells)} columns where the head has {len(head)}")
        name = cells[column]
        if not name or name in found:
            problem = f"{name!r} stands there already" if name else f"no {head[column]}"
            raise InputError(f"{where}{problem} ({shorten(line)})")
        said = re.split(r"[;|,]", cells[other]) if other is not None else ()
        found[name] = tuple(word for part in said if (word := part.strip()))
    if not found:
        raise InputError(f"{path}: no class beneath its head, {first_few(head)}")
    return found
