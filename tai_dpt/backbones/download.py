"""Fetching OpenAI's published weights by name."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from tai_dpt.backbones.clip_package import published_files
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import file_sha256
from tai_dpt.io.cache import ELSEWHERE, VARIABLE, cache_root
from tai_dpt.io.download import fetch
from tai_dpt.io.opening import expanded

logger = logging.getLogger(__name__)

NAMES = (
    "RN50",
    "RN101",
    "RN50x4",
    "RN50x16",
    "RN50x64",
    "ViT-B/32",
    "ViT-B/16",
    "ViT-L/14",
    "ViT-L/14@336px",
)
_ELSEWHERE = "or pass the path of a local weight file as the backbone's name"


def default_folder() -> Path:
    """Below ``TAI_DPT_CACHE`` where that is set, else where the ``clip`` package keeps its files,
    so that they are shared with it."""
    return cache_root() / "clip" if os.environ.get(VARIABLE) else _folder_of_clip()


def _folder_of_clip() -> Path:
    return expanded("~/.cache/clip")


def download(name: str, *, folder: str | Path | None = None) -> Path:
    """The file of the published backbone ``name``, downloaded into ``folder`` if need be.

    Without ``folder`` a file that the ``clip`` package fetched is used wherever new ones go. The
    address and the SHA-256 come from the ``clip`` package's table. A file that is there
    already is checked, too; one whose checksum differs is replaced once the new one is whole.

    Raises:
        InputError: this copy of ``clip`` does not list ``name``; there is no network; what
            arrived does not have the expected checksum; the folder cannot be written.
    """
    table, place = published_files()
    if name not in table:
        raise InputError(
            f"the copy of clip in {place} does not list '{name}' (it has {', '.join(table)}): "
            f"install a newer one, {_ELSEWHERE}"
        )
    url = table[name]
    expected, file_name = url.split("/")[-2:]
    target = expanded(folder or default_folder()) / file_name
    places = (target, *([] if folder else [_folder_of_clip() / file_name]))
    if present := _present(places, expected):
        return present
    try:
        fetch(url, target, sha256=expected, label=name, remedy=f", {_ELSEWHERE}")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = f"{error.strerror}{'; the disk or your quota is full' if full else ''}"
        raise InputError(f"cannot write '{target}' ({problem}): {ELSEWHERE}") from error
    return target


def file_of(name: str) -> Path | None:
    """Where the file of a published backbone is on this machine; it is not checked."""
    table, _ = published_files()
    file_name = table[name].split("/")[-1]
    folders = dict.fromkeys((default_folder(), _folder_of_clip()))
    return next((f / file_name for f in folders if (f / file_name).is_file()), None)


def _present(places: Sequence[Path], expected: str) -> Path | None:
    """The first of the files that is there and has the expected SHA-256."""
    for place in places:
        if place.is_file():
            if file_sha256(place) == expected:
                return place
            logger.warning("%s does not have the published checksum; downloading it anew", place)
    return None
