"""The files that people mean by the names they write in label files and annotations."""

from __future__ import annotations

import difflib
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from tai_dpt.errors import InputError
from tai_dpt.io.image_files import images_below, missing_files
from tai_dpt.io.image_formats import image_endings

_SHOWN = 3
_MOST_COMPARED = 10_000  # letter by letter: it takes long


def locate(names: Sequence[str], folder: str | os.PathLike[str]) -> list[str]:
    """The file below ``folder`` that each name means, relative to it, with slashes.

    As written, if there is such a file. Else the one image that the name fits but for slashes,
    blanks around it, the kind of blanks in it, the case of letters, the form of accents (NFC or
    NFD), what is invisible, how URLs are written (``%20``, ``?width=9``), its ending, the folders
    in front, or zeros in front of a number, which spreadsheets lose. No two names get one file
    that way, and none gets a file that another name says exactly. A name that fits no file, or
    several, comes back with slashes, for the caller to complain about (see ``did_you_mean``).
    """
    top = os.fspath(folder)
    files = [_plain(name, top) for name in names]
    whole = [os.path.join(top, file) for file in files]
    missing = set(missing_files(whole))
    lost = [i for i, path in enumerate(whole) if path in missing]
    if not lost or not os.path.isdir(top):
        return files
    there = _Images(images_below(top).paths)
    taken = set(files) - {files[i] for i in lost}
    fitting = {i: [path for path in there.fitting(files[i]) if path not in taken] for i in lost}
    wanted = Counter(paths[0] for paths in fitting.values() if len(paths) == 1)
    for i, paths in fitting.items():
        if len(paths) == 1 and wanted[paths[0]] == 1:
            files[i] = paths[0]
    return files


def refuse_twice(names: Sequence[str], files: Sequence[str], *, where: str) -> None:
    """Complain of two names for one file.

    Args:
        files: as ``locate`` gives them for ``names``.
        where: what the names stand in.

    Raises:
        InputError: with both names.
    """
    first: dict[str, str] = {}
    for name, file in zip(names, files, strict=True):
        file = os.path.normpath(file)
        if file in first:
            raise InputError(
                f"{where}: '{first[file]}' and '{name}' are the same image; name it once"
            )
        first[file] = name


def did_you_mean(missing: str | os.PathLike[str]) -> str:
    """``; did you mean 'a.jpg'?`` for a file that is not there, or nothing.

    Looked for below its folder, or the one above where that does not exist.
    """
    path = os.path.abspath(missing)
    folder = os.path.dirname(path)
    top = folder if os.path.isdir(folder) else os.path.dirname(folder)
    there = _Images(images_below(top).paths)
    near = there.fitting(os.path.relpath(path, top).replace(os.sep, "/"))
    if not near and len(there.paths) <= _MOST_COMPARED:
        by_name = {os.path.basename(known): known for known in there.paths}
        close = difflib.get_close_matches(os.path.basename(path), by_name, n=1, cutoff=0.8)
        near = [by_name[name] for name in close]
    if not near:
        return ""
    named = " or ".join(f"'{name}'" for name in near[:_SHOWN])
    return f"; did you mean {named}{' or …' if len(near) > _SHOWN else ''}?"


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # "https:/": of two slashes ``_plain`` leaves one


def _seen(character: str) -> str:
    """What is seen of a character: a space for every blank, nothing for a text's direction."""
    if character.isspace() and character != "\n":
        return " "
    return "" if unicodedata.category(character) == "Cf" else character


class _Key(NamedTuple):
    """What is compared of a name."""

    folders: tuple[str, ...]
    name: str
    stem: str  # without the ending
    number: str  # without zeros in front, where it is a number

    @classmethod
    def of(cls, path: str) -> _Key:
        path = "\n".join(re.split("\r\n?", path))  # in a table's cell each end of a line is that
        if _URL.match(path):
            path = path.partition("?")[0].partition("#")[0]
        if "%" in path:
            path = unquote(path)
        if not path.isascii():
            path = "".join(map(_seen, path))
        *folders, name = unicodedata.normalize("NFC", path).casefold().split("/")
        stem, ending = posixpath.splitext(name)
        stem = stem if ending in image_endings() else name
        # a spreadsheet makes 000012 to 12, or to 12.0
        digits = re.fullmatch(r"0*(\d+)(\.0)?", stem)
        return cls(tuple(folders), name, stem, digits[1] if digits else stem)

    def below(self, other: _Key) -> bool:
        """Whether one of both has the other's folders last."""
        length = min(len(self.folders), len(other.folders))
        return not length or self.folders[-length:] == other.folders[-length:]

    def likeness(self, other: _Key) -> tuple[bool, bool, bool]:
        """In which ways it is the same, beside the number."""
        return (self.stem == other.stem, self.name == other.name, self.folders == other.folders)


class _Images:
    """Images of a folder, to be found by what people write."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = [path.replace(os.sep, "/") for path in paths]
        self.by_number: dict[str, list[tuple[_Key, str]]] = {}
        for path in self.paths:
            key = _Key.of(path)
            self.by_number.setdefault(key.number, []).append((key, path))

    def fitting(self, name: str) -> list[str]:
        """The images that a name fits, but those that another fits better in every way."""
        wanted = _Key.of(name)
        found = [
            (wanted.likeness(key), path)
            for key, path in self.by_number.get(wanted.number, ())
            if wanted.below(key)
        ]
        return [
            path
            for like, path in found
            if not any(other != like and _covers(other, like) for other, _ in found)
        ]


def _covers(more: tuple[bool, ...], less: tuple[bool, ...]) -> bool:
    return all(a >= b for a, b in zip(more, less, strict=True))


def _plain(name: str, top: str) -> str:
    """A name with slashes and without detours, relative to ``top`` where it is below it."""
    odd = name != name.strip() or ("\\" in name and os.sep == "/")
    if odd and os.path.isfile(os.path.join(top, name)):
        return name  # a file may be called so
    plain = posixpath.normpath(name.strip().replace("\\", "/"))
    inside = os.path.abspath(top).replace(os.sep, "/").rstrip("/") + "/"
    return plain.removeprefix(inside)
