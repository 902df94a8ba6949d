"""Finding images: in folders, patterns and lists, the same way for whoever looks for some."""

from __future__ import annotations

import codecs
import glob
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tai_dpt.errors import InputError, first_few
from tai_dpt.io.image_formats import image_endings

#: in place of a list's file: standard input
STDIN = "-"

# what operating systems, storage boxes and archives put beside people's files
_SYSTEM_FOLDERS = {
    *("__MACOSX", "@eaDir", "@Recycle", "@__thumb", "#recycle", "#snapshot", "$RECYCLE.BIN"),
    *("System Volume Information", "lost+found", "__pycache__"),
}
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}

_RAW = "camera raw: develop to JPEG"
_VIDEO = "video: take frames out of it"
_DRAWING = "no pixels: convert to PNG"
_ADVICE = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif"),
    ".avif": "pip install --upgrade pillow",
    ".jxl": "pip install pillow-jxl-plugin",
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), _RAW),
    **dict.fromkeys((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"), _VIDEO),
    **dict.fromkeys((".ai", ".emf", ".eps", ".pdf", ".ps", ".svg", ".wmf"), _DRAWING),
    **dict.fromkeys((".7z", ".gz", ".rar", ".tar", ".tgz", ".zip"), "unpack it"),
}
_KINDS_SHOWN = 8


@dataclass
class LeftAside:
    """What a search came across and did not take, counted by kind.

    Hidden files and those that systems write are not counted: nobody misses them.
    """

    files: Counter[str] = field(default_factory=Counter)  # by ending
    folders: Counter[str] = field(default_factory=Counter)  # hidden or a system's, by name
    closed: list[str] = field(default_factory=list)  # folders that may not be opened

    def __bool__(self) -> bool:
        return bool(self.files or self.folders or self.closed)

    def __str__(self) -> str:
        """``12 .heic (pip install pillow-heif), 3 .txt; folders .git, @eaDir``."""
        kinds = sorted(self.files, key=lambda k: (k not in _ADVICE, -self.files[k], k))
        shown = [
            f"{self.files[kind]:,} {kind}" + (f" ({_ADVICE[kind]})" if kind in _ADVICE else "")
            for kind in kinds[:_KINDS_SHOWN]
        ]
        rest = sum(self.files[kind] for kind in kinds[_KINDS_SHOWN:])
        parts = [", ".join([*shown, f"{rest:,} other files"] if rest else shown)]
        if self.folders:
            parts.append(f"folders {first_few(sorted(self.folders), _KINDS_SHOWN)}")
        if self.closed:
            parts.append(f"folders that cannot be opened: {first_few(self.closed, 3)}")
        return "; ".join(filter(None, parts))

    def add(self, other: LeftAside) -> None:
        """Count what another search left aside, too."""
        self.files += other.files
        self.folders += other.folders
        self.closed += other.closed


@dataclass
class FoundImages:
    """The images that a search found, and what it left aside."""

    paths: list[str]
    left_aside: LeftAside


def find_images(named: Sequence[str], *, lists: Iterable[str] = ()) -> FoundImages:
    """Files, folders (searched with all that is in them) and patterns as files, each once.

    Args:
        named: in the order they come out; a folder's files are sorted. A file that is named
            itself is taken whatever it is called.
        lists: text files with a path a line, or ``-``, taken after ``named``.

    Raises:
        InputError: nothing is called that, or nothing in it looks like an image.
    """
    found: dict[str, None] = {}
    left_aside = LeftAside()
    for name in named:
        for path in _expanded(name):
            inside = _files(path, left_aside)
            if not inside and path == os.path.expanduser(name):
                aside = f"; left aside: {left_aside}" if left_aside else ""
                raise InputError(f"{name}: no images in this folder{aside}")
            found.update(dict.fromkeys(inside))
    for source in lists:
        for path in listed_paths(source):
            found.update(dict.fromkeys(_files(path, left_aside)))
    if not found:
        raise InputError("no images named; give files, folders or patterns such as '*.jpg'")
    return FoundImages(list(found), left_aside)


def images_below(folder: str | os.PathLike[str]) -> FoundImages:
    """The image files in a folder and its subfolders, relative to it, in the order of their names.

    Links are followed, each folder is looked into once, by its own name rather than a link's.
    Hidden and system folders are left aside, and so is all that is no file.
    """
    top, endings = os.fspath(folder), image_endings()
    paths: list[str] = []
    left_aside = LeftAside()
    visited: set[str] = set()
    own, linked = [""], list[str]()  # folders still to look into
    while own or linked:
        here = own.pop() if own else linked.pop(0)
        whole = os.path.join(top, here)
        identity = os.path.realpath(whole)
        if identity in visited:
            continue
        visited.add(identity)
        try:
            entries = sorted(os.scandir(whole), key=lambda entry: entry.name)
        except OSError:
            left_aside.closed.append(whole)
            continue
        for entry in entries:
            name = os.path.join(here, entry.name)
            kind = _kind(entry)
            if kind == "folder":
                if _hidden(entry.name) or entry.name in _SYSTEM_FOLDERS:
                    left_aside.folders[entry.name] += 1
                else:
                    (linked if entry.is_symlink() else own).append(name)
            elif not _hidden(entry.name) and entry.name.lower() not in _SYSTEM_FILES:
                ending = os.path.splitext(entry.name)[1].lower()
                if kind == "file" and ending in endings:
                    paths.append(name)
                else:
                    left_aside.files[(ending or "without ending") if kind == "file" else kind] += 1
    return FoundImages(sorted(paths), left_aside)


def listed_paths(source: str | os.PathLike[str]) -> list[str]:
    """The paths that a list names: one a line, or parted by NUL as ``find -print0`` does it.

    They are bytes to the system, and taken as such, whatever they would be as text. Blanks at the
    ends are kept where a file is called so.

    Args:
        source: a file, or ``-`` for standard input.

    Raises:
        InputError: there is no such file, or it is UTF-16.
    """
    content = _content(source).removeprefix(codecs.BOM_UTF8)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{source} is UTF-16; save the list as UTF-8")
    if b"\0" in content:
        return [os.fsdecode(name) for name in content.split(b"\0") if name]
    return [_as_on_disk(os.fsdecode(line)) for line in content.split(b"\n") if line.strip()]


def missing_files(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Those of ``paths`` that are not on disk, listing each folder once."""
    names: dict[Path, set[str]] = {}
    missing = []
    for path in map(Path, paths):
        if path.parent not in names:
            there = path.parent.iterdir() if path.parent.is_dir() else ()
            names[path.parent] = {entry.name for entry in there}
        if path.name not in names[path.parent]:
            missing.append(str(path))
    return missing


def _expanded(name: str) -> Iterator[str]:
    """What a name on the command line stands for."""
    path = os.path.expanduser(name)
    if os.path.lexists(path):
        yield path
    elif glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise InputError(f"nothing matches the pattern '{name}'")
        yield from matches
    else:
        raise InputError(f"no such file or folder: '{name}'")


def _files(path: str, left_aside: LeftAside) -> list[str]:
    """A file itself, or the images below a folder."""
    if not os.path.isdir(path):
        return [path]
    inside = images_below(path)
    left_aside.add(inside.left_aside)
    return [os.path.join(path, name) for name in inside.paths]


def _content(source: str | os.PathLike[str]) -> bytes:
    if source == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except FileNotFoundError:
        raise InputError(f"no such file: {source}") from None
    except OSError as error:
        raise InputError(f"cannot read the list {source}: {error.strerror}") from None


def _as_on_disk(line: str) -> str:
    """A line of a list, without the blanks around it unless a file's name has them."""
    forms = line, line.removesuffix("\r")
    return next(filter(os.path.lexists, forms), line.strip())


def _kind(entry: os.DirEntry[str]) -> str:
    """``folder``, ``file``, or what else it is, in the plural."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # leads nowhere, or in a circle
        return "broken links"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "pipes, sockets and devices"


def _hidden(name: str) -> bool:
    return name.startswith(".")
