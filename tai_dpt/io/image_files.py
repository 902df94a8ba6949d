"""Finding images: in folders, patterns and lists, the same way for whoever looks for some."""

from __future__ import annotations

import codecs
import glob
import hashlib
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tai_dpt.errors import InputError, first_few
from tai_dpt.io.image_formats import image_endings
from tai_dpt.io.opening import open_file
from tai_dpt.io.parquet import open_parquet
from tai_dpt.io.tar_images import TarImage, images_in_tar, is_tar

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
    **dict.fromkeys((".7z", ".gz", ".rar", ".tgz", ".zip"), "unpack it"),
    ".tar": "name it itself, or a pattern such as '*.tar'",
}
# of a Parquet file, where several columns hold text
_PATHS = ("path", "image", "image_path", "file_name", "filename", "filepath", "file")
_RANGE = re.compile(r"\{(\d{1,12})\.\.(\d{1,12})\}")
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
    """The images that a search found, and what it left aside.

    Args:
        paths: of a shard, its own.
        whole: what was parted into shards: a digest of its names.
    """

    paths: list[str]
    left_aside: LeftAside
    whole: str = ""

    @property
    def files(self) -> Iterator[str]:
        """What is read: a tar file in place of each image in it."""
        return (path.tar if isinstance(path, TarImage) else path for path in self.paths)


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of something; they are numbered from 0."""

    number: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, items: Sequence[str]) -> Sequence[str]:
        """Its run of the items: the parts one after another are all of them, in their order."""
        first, end = (len(items) * n // self.count for n in (self.number, self.number + 1))
        return items[first:end]


def find_images(
    named: Sequence[str], *, lists: Iterable[str] = (), shard: Shard | None = None
) -> FoundImages:
    """Files, folders (searched with all that is in them), tars and patterns as images, each once.

    Args:
        named: in the order they come out; a folder's files are sorted, a tar's as they lie in it.
            A file that is named itself is taken whatever it is called.
        lists: text files with a path a line, ``-``, or Parquet files; taken after ``named``.
        shard: take this part alone. Where there are tars for all parts, each gets whole ones and
            opens no other.

    Raises:
        InputError: nothing is called that, nothing in it looks like an image, or a tar is damaged.
    """
    found: dict[str, None] = {}
    left_aside = LeftAside()
    for name in named:
        for path in _expanded(name):
            inside = _files(path, left_aside)
            if not inside and path == os.path.expanduser(name):
                raise InputError(f"{name}: no images in this folder{_aside(left_aside)}")
            found.update(dict.fromkeys(inside))
    for source in lists:
        for path in listed_paths(source):
            found.update(dict.fromkeys(_files(path, left_aside)))
    if not found:
        raise InputError("no images named; give files, folders or patterns such as '*.jpg'")
    shard = shard or Shard()
    units = list(found)
    by_tar = sum(map(is_tar, units)) >= shard.count
    if not by_tar:
        units = _unpacked(units, left_aside)
    whole = hashlib.sha256("\0".join(units).encode(errors="surrogateescape")).hexdigest()
    in_all = len(units)  # tars count: what is in others' is not looked up
    units = list(shard.of(units))
    if by_tar:
        units = _unpacked(units, left_aside)
    if not units and (shard.count == 1 or not in_all):
        raise InputError(f"no images in {first_few(found, 3)}{_aside(left_aside)}")
    return FoundImages(units, left_aside, whole)


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
        source: a file, or ``-`` for standard input. Of a Parquet file the column of paths is
            taken.

    Raises:
        InputError: there is no such file, it is UTF-16, or Parquet in which no column can be told
            to be of paths.
    """
    if os.fspath(source).lower().endswith(".parquet"):
        return _paths_of_parquet(os.fspath(source))
    content = _content(source).removeprefix(codecs.BOM_UTF8)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{source} is UTF-16; save the list as UTF-8")
    if b"\0" in content:
        return [os.fsdecode(name) for name in content.split(b"\0") if name]
    return [_as_on_disk(os.fsdecode(line)) for line in content.split(b"\n") if line.strip()]


def missing_files(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Those of ``paths`` that are not on disk, as they are given, listing each folder once."""
    names: dict[Path, set[str]] = {}
    missing = []
    for given in paths:
        path = Path(given)
        if path.parent not in names:
            there = path.parent.iterdir() if path.parent.is_dir() else ()
            names[path.parent] = {entry.name for entry in there}
        if path.name not in names[path.parent]:
            missing.append(os.fspath(given))
    return missing


def _aside(left_aside: LeftAside) -> str:
    """What a search left aside, as the end of a message."""
    return f"; left aside: {left_aside}" if left_aside else ""


def _expanded(name: str) -> Iterator[str]:
    """What a name on the command line stands for."""
    path = os.path.expanduser(name)
    if os.path.lexists(path):
        yield path
    elif numbers := _RANGE.search(path):
        first, last = numbers.groups()
        if int(first) > int(last):
            raise InputError(f"'{name}' counts from {first} to {last}: the smaller comes first")
        for number in range(int(first), int(last) + 1):
            inside = f"{path[: numbers.start()]}{number:0{len(first)}}{path[numbers.end() :]}"
            yield from _expanded(inside)
    elif glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise InputError(f"nothing matches the pattern '{name}'")
        yield from matches
    else:
        raise InputError(f"no such file or folder: '{name}'")


def _unpacked(paths: list[str], left_aside: LeftAside) -> list[str]:
    """The paths, and the images in a tar in its place."""
    images: list[str] = []
    for path in paths:
        images += images_in_tar(path, left_aside.files) if is_tar(path) else [path]
    return images


def _files(path: str, left_aside: LeftAside) -> list[str]:
    """A file itself, or the images below a folder."""
    if not os.path.isdir(path):
        return [path]
    inside = images_below(path)
    left_aside.add(inside.left_aside)
    return [os.path.join(path, name) for name in inside.paths]


def _paths_of_parquet(name: str) -> list[str]:
    with open_parquet(name) as file:
        texts = [f.name for f in file.schema_arrow if str(f.type) in ("string", "large_string")]
        column = next((t for p in _PATHS for t in texts if t.lower() == p), None)
        column = texts[0] if len(texts) == 1 else column
        if column is None:
            raise InputError(
                f"{name}: which column holds the paths? call it 'path'; columns of text: "
                f"{first_few(texts) or '(none)'}"
            )
        batches = file.iter_batches(columns=[column])
        return [path for batch in batches for path in batch[column].to_pylist() if path]


def _content(source: str | os.PathLike[str]) -> bytes:
    if source == STDIN:
        return sys.stdin.buffer.read()
    with open_file(source, pipe=True) as stream:
        return stream.read()


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
