"""Fetching OpenAI's published weights by name."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import ssl
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import getproxies, urlopen

from tqdm import tqdm

from tai_dpt.backbones.clip_package import published_files
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write, file_sha256
from tai_dpt.io.cache import ELSEWHERE, VARIABLE, cache_root

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
    return Path("~/.cache/clip").expanduser()


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
    target = Path(folder or default_folder()).expanduser() / file_name
    for present in (target, *([] if folder else [_folder_of_clip() / file_name])):
        if present.is_file():
            if file_sha256(present) == expected:
                return present
            logger.warning("%s does not have the published checksum; downloading it anew", present)
    try:
        with urlopen(url, timeout=30) as source:
            _save(source, target, expected)
    except InputError:
        raise
    except (OSError, HTTPException) as error:  # urllib's URLError is an OSError
        reason = getattr(error, "reason", None) or error
        if problem := _not_written(reason):
            raise InputError(f"cannot write '{target}' ({problem}): {ELSEWHERE}") from error
        raise InputError(
            f"cannot download '{name}' ({reason}){_on_the_way(reason)}: fetch {url} on a machine "
            f"with a network and put it at '{target}', {_ELSEWHERE}"
        ) from error
    return target


def _not_written(error: object) -> str:
    """What keeps a file from being written here; empty where the trouble is the network's."""
    if not isinstance(error, OSError):
        return ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}; the disk or your quota is full"
    written = isinstance(error, PermissionError | FileExistsError | NotADirectoryError)
    return str(error.strerror) if written or error.errno == errno.EROFS else ""


def _on_the_way(reason: object) -> str:
    """What between here and the publisher may be to blame, and how to mend that."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            "; the certificate is not one this machine trusts: where a proxy reads along, name its "
            "certificate with SSL_CERT_FILE"
        )
    if proxy := getproxies().get("https"):
        place = urlsplit(proxy)
        shown = place.netloc.rpartition("@")[2] or place.path  # without a password
        return f"; the proxy {shown} was asked, as https_proxy says: is that right?"
    return ""


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
