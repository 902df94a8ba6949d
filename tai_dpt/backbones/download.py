"""Fetching OpenAI's published weights by name."""

from __future__ import annotations

import hashlib
import logging
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from tqdm import tqdm

from tai_dpt.backbones.clip_package import published_files
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write, file_sha256

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
    """Where the ``clip`` package keeps its files, so that they are shared with it."""
    return Path("~/.cache/clip").expanduser()


def download(name: str, *, folder: str | Path | None = None) -> Path:
    """The file of the published backbone ``name``, downloaded into ``folder`` if need be.

    The address and the SHA-256 come from the ``clip`` package's table. A file that is there
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
    target = Path(folder or default_folder()).expanduser() / file_name
    if target.is_file():
        if file_sha256(target) == expected:
            return target
        logger.warning("%s does not have the published checksum; downloading it anew", target)
    try:
        with urlopen(url, timeout=30) as source:
            _save(source, target, expected)
    except InputError:
        raise
    except (OSError, HTTPException) as error:  # urllib's URLError is an OSError
        if isinstance(error, (PermissionError, FileExistsError, NotADirectoryError)):
            raise InputError(
                f"cannot write '{target}' ({error.strerror}): choose another download folder"
            ) from error
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"cannot download '{name}' ({reason}): fetch {url} on a machine with a network and "
            f"put it at '{target}', {_ELSEWHERE}"
        ) from error
    return target


def _save(source: IO[bytes], target: Path, expected: str) -> None:
    """Stream ``source`` into ``target``; nothing is left there unless the checksum is right."""
    length = getattr(source, "headers", {}).get("Content-Length")
    digest = hashlib.sha256()
    with (
        atomic_write(target) as sink,
        tqdm(
            total=int(length) if length else None,
            desc=target.name,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            leave=False,
        ) as bar,
    ):
        received = 0
        while block := source.read(1 << 20):
            sink.write(block)
            digest.update(block)
            received += len(block)
            bar.update(len(block))
        if digest.hexdigest() != expected:
            of = f" of {length}" if length else ""
            raise InputError(
                f"the download of '{target.name}' has the wrong checksum ({received}{of} bytes, "
                f"SHA-256 {digest.hexdigest()[:12]}…, expected {expected[:12]}…): try again, "
                f"{_ELSEWHERE}"
            )
