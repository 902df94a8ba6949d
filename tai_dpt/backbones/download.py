"""Fetching OpenAI's published weights by name."""

from __future__ import annotations

import errno
import getpass
import hashlib
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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
from tai_dpt.io.lock import locked

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
    places = (target, *([] if folder else [_folder_of_clip() / file_name]))
    if present := _present(places, expected):
        return present
    try:
        with _alone(target):
            if present := _present(places, expected):  # by now
                return present
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


def file_of(name: str) -> Path | None:
    """Where the file of a published backbone is on this machine; it is not checked."""
    table, _ = published_files()
    file_name = table[name].split("/")[-1]
    folders = dict.fromkeys((default_folder(), _folder_of_clip()))
    return next((f / file_name for f in folders if (f / file_name).is_file()), None)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Of several processes on this machine one fetches ``target``; the others wait for it."""
    mark = hashlib.sha256(f"{getpass.getuser()} {target.absolute()}".encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"tai-dpt-fetch-{mark}"
    place.mkdir(exist_ok=True)
    waiting = partial(logger.warning, "another process fetches %s; waiting for it", target.name)
    with locked(place, 0, 1, waiting):
        yield


def _present(places: Sequence[Path], expected: str) -> Path | None:
    """The first of the files that is there and has the expected SHA-256."""
    for place in places:
        if place.is_file():
            if file_sha256(place) == expected:
                return place
            logger.warning("%s does not have the published checksum; downloading it anew", place)
    return None


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
