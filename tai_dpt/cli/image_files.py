"""From what a person names on the command line to a list of image files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tai_dpt.errors import InputError
from tai_dpt.io.text import read_lines

# what a folder is searched for; a file that is named itself is tried whatever it is called
SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tga", ".tif", ".tiff", ".webp"),
}


def image_files(named: Sequence[str], *, lists: Iterable[str] = ()) -> list[str]:
    """Files, folders (searched with all that is in them) and patterns as files, each once.

    Args:
        named: in the order they come out; a folder's files are sorted.
        lists: text files with a path a line, taken after ``named``.

    Raises:
        InputError: nothing is called that, or nothing in it looks like an image.
    """
    found: dict[str, None] = {}
    for name in named:
        found.update(dict.fromkeys(_one(name)))
    for path in lists:
        found.update(dict.fromkeys(line.strip() for _, line in read_lines(path) if line.strip()))
    if not found:
        raise InputError("no images named; give files, folders or patterns such as '*.jpg'")
    return list(found)


def _one(name: str) -> list[str]:
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        inside = _in_folder(path)
        if not inside:
            raise InputError(
                f"{name}: no images in this folder (looked for {' '.join(sorted(SUFFIXES))})"
            )
        return inside
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise InputError(f"nothing matches the pattern '{name}'")
        files = [match for match in matches if not os.path.isdir(match)]
        for folder in filter(os.path.isdir, matches):
            files += _in_folder(folder)
        return files
    raise InputError(f"no such file or folder: {name}")


def _in_folder(folder: str) -> list[str]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        files += [
            os.path.join(parent, name)
            for name in sorted(names)
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return files
