"""Class names out of a text file of one name a line, as people have them."""

from __future__ import annotations

import re
import warnings
from itertools import pairwise
from pathlib import Path

from tai_dpt.errors import InputError, shorten
from tai_dpt.io.text import read_lines
from tai_dpt.labels.name_tables import NAMES_HEAD, SEPARATOR, TABLES

_NUMBERED = re.compile(r"(\d+)\s*(?:[.):,;]\s*|\s-\s+|\s)(.*\S)")
_QUOTED = re.compile(
    r"""(["'])([^"]+)\1\s*,?|[\u201c\u201e]([^\u201c\u201d]+)[\u201c\u201d]\s*,?"""
)
_BULLETED = re.compile(r"[*+\u2022\u2023\u2043\u25aa\u25cf\u00b7]\s+(.*\S)")
_MANY = 5  # lines whose rising numbers are no part of the names
_WITH_SYNONYMS = re.compile(r"[^:]+:(\s.*)?")
_WORDNET_ID = re.compile(r"(n\d{8})[\s,:]+(.*\S)")


def class_lines(path: Path) -> list[str]:
    r"""The names in a text file, one a line.

    Blank lines and comments (a ``#`` alone or before a space) are skipped. Where every line is
    quoted, bulleted or numbered (from 0 or 1, or rising over five lines; at the ends, too), the
    quotes (and the commas after them), the bullets or the numbers are left out, with a warning, and
    so is a first line such as ``name``, the head of a column.

    Raises:
        InputError: no names, or a line that looks like something else than a name.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "classes.txt")
    ...     _ = path.write_text("# pets\ndog\ncat\n")
    ...     class_lines(path)
    ['dog', 'cat']
    """
    listed = [
        (number, text)
        for number, line in read_lines(path)
        if (text := line.strip()) and text != "#" and not text.startswith(("# ", "#\t"))
    ]
    if listed and SEPARATOR.fullmatch(listed[0][1]):
        del listed[0]
    if not listed:
        raise InputError(f"{path}: no class names in it; write one name a line")
    is_column = len(listed) > (1 if path.suffix.lower() in TABLES else 2)
    if is_column and NAMES_HEAD.fullmatch(listed[0][1]):
        warnings.warn(
            f"{path}: the first line, {listed[0][1]!r}, is read as the head of a column and no "
            "class; if it is one, put it elsewhere",
            stacklevel=4,
        )
        del listed[0]
    for read in (_unbulleted, _unquoted, _unnumbered, _unnumbered_after):
        found = read(listed)
        if found is not None:
            listed, what = found
            warnings.warn(
                f"{path}: read without {what}, as {listed[0][1]!r}, …; write a name as it is, one "
                "a line",
                stacklevel=4,
            )
    if re.search(r"[,;\t]", listed[0][1]) and _unnumbered(listed[1:]):
        raise InputError(
            f"{path}, line {listed[0][0]}: {shorten(listed[0][1])!r} looks like the head of a "
            "table; write the names alone, one a line"
        )
    for number, text in listed:
        _check(path, number, text, alone=len(listed) == 1)
    if len(listed) > 1 and all(_WITH_SYNONYMS.fullmatch(text) for _, text in listed):
        raise InputError(
            f"{path}, line {listed[0][0]}: {shorten(listed[0][1])!r} looks like a name and its "
            "synonyms; call the file .yaml and write 'name: [synonym, synonym]' lines"
        )
    hashes = [text for _, text in listed if text.startswith("#")]
    if hashes:
        warnings.warn(
            f"{path}: {shorten(hashes[0])!r} is read as a name; a comment begins with '# '",
            stacklevel=4,
        )
    return [text for _, text in listed]


def stated_language(path: Path) -> str:
    r"""What a comment ``# language: de`` in the file says; "" where there is none.

    Raises:
        InputError: two such comments say different things.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "classes.txt")
    ...     _ = path.write_text("# language: de\nHund\n")
    ...     stated_language(path)
    'de'
    """
    said = {
        match[1]
        for _, line in read_lines(path)
        if (match := re.fullmatch(r"#\s+language:\s*(.*\S)", line.strip(), re.IGNORECASE))
    }
    if len(said) > 1:
        raise InputError(f"{path}: several languages: {', '.join(sorted(said))}; state one")
    return said.pop() if said else ""


_Lines = list[tuple[int, str]]


def _unbulleted(listed: _Lines) -> tuple[_Lines, str] | None:
    matches = [(number, _BULLETED.fullmatch(text)) for number, text in listed]
    if not all(match for _, match in matches):
        return None
    return [(number, match[1]) for number, match in matches if match], "bullets"


def _unquoted(listed: _Lines) -> tuple[_Lines, str] | None:
    matches = [(number, _QUOTED.fullmatch(text)) for number, text in listed]
    names = [(number, (match[2] or match[3]).strip()) for number, match in matches if match]
    if len(names) < len(listed) or not all(name for _, name in names):
        return None
    return names, "quotes"


def _unnumbered(listed: _Lines) -> tuple[_Lines, str] | None:
    matches = [(number, _NUMBERED.fullmatch(text)) for number, text in listed]
    if len(listed) < 2 or not all(match for _, match in matches):
        return None
    counted = [int(match[1]) for _, match in matches if match]
    steps = {after - before for before, after in pairwise(counted)}
    in_order = (counted[0] in (0, 1) and steps == {1}) or (counted[0] == 0 and min(steps) > 0)
    if not in_order and (len(listed) < _MANY or min(steps) < 1):
        return None
    return [(number, match[2]) for number, match in matches if match], "numbers"


def _unnumbered_after(listed: _Lines) -> tuple[_Lines, str] | None:
    """Numbers at the ends count up from 0 or 1; of one name ("level 1") they are a part."""
    matches = [(number, _number_at_end(text)) for number, text in listed]
    names = [(number, match[0]) for number, match in matches if match]
    counted = [match[1] for _, match in matches if match]
    in_order = counted[:1] in ([0], [1]) and counted == list(
        range(counted[0], counted[0] + len(listed))
    )
    if len(listed) < 2 or not in_order or len({name for _, name in names}) < len(listed):
        return None
    return names, "the numbers at the ends"


def _number_at_end(text: str) -> tuple[str, int] | None:
    """A name and the number behind it, as in "dog 0" or "dog: 0"; no regular expression, which
    takes the square of a line's length to find that there is none."""
    before = text.rstrip("0123456789")
    name = before.rstrip(" \t,;:")
    digits = text[len(before) :]
    named = 0 < len(name) < len(before) and any(map(str.isalpha, name))
    return (name, int(digits)) if named and 0 < len(digits) < 10 else None


def _check(path: Path, number: int, text: str, *, alone: bool) -> None:
    """Raise InputError for a line that is no name but looks like something that is known."""
    where = f"{path}, line {number}: "
    if not alone and text[0] in "\"'" and text.rstrip(",")[-1:] == text[0]:
        raise InputError(
            f"{where}{shorten(text)} is quoted and other lines are not; write the name"
        )
    if re.match(r"""[\[({]\s*(?:["'{\[]|$)""", text):
        raise InputError(
            f"{where}{shorten(text)!r} looks like a list in Python or JSON; write one name a line, "
            "or call the file .json"
        )
    if re.match(r"(item|entries)\s*:?\s*\{", text):
        raise InputError(
            f"{where}{shorten(text)!r} looks like a label map of TensorFlow; write its names, one "
            "a line"
        )
    if text.startswith(("- ", "names:", "classes:")):
        raise InputError(f"{where}{shorten(text)!r} looks like YAML; call the file .yaml")
    if " # " in text:
        raise InputError(
            f"{where}{shorten(text)!r} looks like a name and a comment; a comment needs a line of "
            "its own, which begins with '# '"
        )
    if _WORDNET_ID.fullmatch(text):
        raise InputError(f"{where}{shorten(text)!r} begins with a WordNet id; write the name alone")
    if alone and re.search(r"[,;\t]", text):
        raise InputError(
            f"{where}{shorten(text)!r} looks like a list of names; write one name a line"
        )
