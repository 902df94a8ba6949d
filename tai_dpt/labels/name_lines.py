"""Class names out of a text file of one name a line, as people have them."""

from __future__ import annotations

import re
import warnings
from itertools import pairwise
from pathlib import Path

from tai_dpt.errors import InputError, shorten
from tai_dpt.io.text import read_lines
from tai_dpt.labels.name_tables import NAMES_HEAD, SEPARATOR, TABLES

_NUMBERED = re.compile(r"[(\[#]?(\d+)\s*(?:[.):,;\]]\s*|\s-\s+|\s)(.*\S)")
_QUOTED = re.compile(
    r"""(["'`])([^"]+)\1\s*,?|[\u201c\u201e\u2018\u201a\u00ab\u300c]"""
    r"""([^\u201c\u201d]+)[\u201c\u201d\u2018\u2019\u00bb\u300d]\s*,?"""
)
_BULLETED = re.compile(r"[*+\u2022\u2023\u2043\u25aa\u25cf\u00b7]\s+(.*\S)")
_MANY = 5  # lines whose rising numbers are no part of the names
_ROW = re.compile(r"[;|\t]|\s(=|=>|->|\u2192)\s")
_IDS = (
    ("a WordNet id", re.compile(r"n\d{8}[\s,:]+.*\S")),
    ("an id of Open Images", re.compile(r"/[mtg]/\w+[\s,:]+.*\S")),
)


def class_lines(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    r"""The names in a text file, one a line, each with the synonyms that stand beside it.

    Blank lines and comments (a ``#`` alone or before a space) are skipped. Where every line is
    quoted, bulleted, numbered (from 0 or 1, or rising over five lines; at the ends, too) or ends
    with a comma, the quotes (and the commas after them), the bullets, the numbers or the commas
    are left out, with a warning, and so is a first line such as ``name``, the head of a column.
    Synonyms may stand behind a colon, as in ``dog: puppy, hound``, in some lines or in all.

    Raises:
        InputError: no names, or a line that looks like something else than a name.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "classes.txt")
    ...     _ = path.write_text("# pets\ndog\ncat\n")
    ...     class_lines(path)
    [('dog', ()), ('cat', ())]
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
    for read in (_unbulleted, _unquoted, _unparted, _unnumbered, _unnumbered_after):
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
    named = _named(path, listed)
    hashes = [text for _, text in listed if text.startswith("#")]
    if hashes:
        warnings.warn(
            f"{path}: {shorten(hashes[0])!r} is read as a name; a comment begins with '# '",
            stacklevel=4,
        )
    commas = [name for name, _ in named if "," in name]
    if commas:
        warnings.warn(
            f"{path}: {shorten(commas[0])!r} is read as one name, comma and all; write synonyms "
            "behind a colon, 'name: synonym, synonym'",
            stacklevel=4,
        )
    return named


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


def _named(path: Path, listed: _Lines) -> list[tuple[str, tuple[str, ...]]]:
    """Name and synonyms of each line, which have a colon between.

    A comma or brackets in one of them say that they are synonyms; a word or two after a colon may
    be a part of the name ("Mission: Impossible").
    """
    parted = [_at_colon(text) for _, text in listed]
    marked = [at for at, parts in enumerate(parted) if parts]
    if not marked or len(listed) == 1:
        return [(text, ()) for _, text in listed]
    names = [parts[0] if parts else text for parts, (_, text) in zip(parted, listed, strict=True)]
    plain = [at for at, parts in enumerate(parted) if parts and re.search(r"[,;|\]]", parts[1])]
    if not plain or len({names[at] for at in marked}) < len(marked):
        number, text = listed[marked[0]]
        raise InputError(
            f"{path}, line {number}: {shorten(text)!r} looks like a name and its synonyms; call "
            "the file .yaml and write 'name: [synonym, synonym]' lines (or '- \"name\"' lines, "
            "where the colon is a part of it)"
        )
    warnings.warn(
        f"{path}: what stands behind a colon is read as synonyms, as in "
        f"{shorten(listed[plain[0]][1])!r}",
        stacklevel=5,
    )
    return [(name, _synonyms(parts[1])) if parts else (name, ())
            for name, parts in zip(names, parted, strict=True)]  # fmt: skip


def _at_colon(text: str) -> tuple[str, str] | None:
    """What stands before and behind the first colon; None where it is none between words."""
    name, colon, rest = text.partition(":")
    name = name.strip()
    between = colon and (not rest or rest[0].isspace() or rest[0].isalpha())
    return (name, rest.strip()) if between and any(map(str.isalpha, name)) else None


def _synonyms(text: str) -> tuple[str, ...]:
    """The words of ``puppy, hound`` or ``[puppy, hound]``."""
    parts = re.split("[,;|]", text.removeprefix("[").removesuffix("]"))
    return tuple(filter(None, (part.strip().strip("\"'") for part in parts)))


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


def _unparted(listed: _Lines) -> tuple[_Lines, str] | None:
    """Lines that end with a comma each, but the last perhaps, and have no other."""
    names = [(number, text.rstrip(",; \t")) for number, text in listed]
    ended = [text != name for (_, text), (_, name) in zip(listed, names, strict=True)]
    other = any(not name or re.search("[,;]", name) for _, name in names)
    if len(listed) < 2 or not all(ended[:-1]) or other:
        return None
    return names, "the commas at the ends"


def _unnumbered(listed: _Lines) -> tuple[_Lines, str] | None:
    matches = [(number, _NUMBERED.fullmatch(text)) for number, text in listed]
    if len(listed) < 2 or not all(match for _, match in matches):
        return None
    counted = [int(match[1]) for _, match in matches if match]
    steps = {after - before for before, after in pairwise(counted)}
    in_order = (counted[0] in (0, 1) and steps == {1}) or (counted[0] == 0 and min(steps) > 0)
    if not in_order and (len(listed) < _MANY or min(steps) < 1):
        return None
    names = [(number, match[2]) for number, match in matches if match]
    if len({name for _, name in names}) == 1:  # 1 euro, 2 euro
        return None
    return names, "numbers"


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
    name = before.rstrip(" \t,;:=->\u2192\u2013")
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
    if not alone and re.match(r"\d{1,9}:\s", text):
        raise InputError(
            f"{where}{shorten(text)!r} is numbered and other lines are not, or not in order; write "
            "the name alone"
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
    for what, pattern in _IDS:
        if pattern.fullmatch(text):
            raise InputError(f"{where}{shorten(text)!r} begins with {what}; write the name alone")
    if re.match(r"<[/\w?!][^>]*>", text):
        raise InputError(f"{where}{shorten(text)!r} looks like XML; write its names, one a line")
    if re.fullmatch(r".*\.(jpe?g|png|webp|bmp|gif|tiff?)", text, re.IGNORECASE):
        raise InputError(f"{where}{shorten(text)!r} looks like an image's name, not a class's")
    if alone and re.search(r"[,;|\t]", text):
        raise InputError(
            f"{where}{shorten(text)!r} looks like a list of names; write one name a line"
        )
    if not alone and ":" not in text and _ROW.search(text):
        raise InputError(
            f"{where}{shorten(text)!r} looks like a row of a table; write the names alone, one a "
            "line, or 'name: synonym, synonym' lines"
        )
