"""Fetching a large file: what was cut off goes on, and only a whole file gets its name."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, urlopen

from tai_dpt.errors import InputError, Stopped
from tai_dpt.io.atomic import file_sha256, naming
from tai_dpt.io.console import bar, one_line
from tai_dpt.io.lock import locked

logger = logging.getLogger(__name__)

_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between attempts that bring nothing new
_TIMEOUT = 30.0  # seconds without a byte
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # what a server may think better of


class _BrokenOff(Exception):
    """The network's or the server's fault, never this machine's."""

    def __init__(self, reason: object, *, final: bool = False) -> None:
        super().__init__(one_line(str(reason)) or type(reason).__name__)
        self.reason, self.final = reason, final


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    label: str = "",
    remedy: str = "",
) -> None:
    """Download ``url`` to ``target``; what an earlier call left in ``target``.part is gone on with.

    A server that cuts off, or is overloaded, is asked again, with longer and longer pauses, until
    it brings nothing new. One that knows no ranges is asked for the whole. Without a checksum only
    a file that has not changed since is gone on with. Of several processes one fetches.

    Args:
        size: in bytes, where it is known.
        label: what the file is called in messages.
        remedy: the end of a message, on what else can be done.

    Raises:
        InputError: it cannot be had, or what arrived has another size or checksum.
        OSError: it cannot be written here; what has arrived stays.
    """
    label = label or target.name
    was_there = target.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with alone(target):
        if target.is_file() and (file_sha256(target) == sha256 if sha256 else not was_there):
            return  # another process has fetched it by now
        try:
            fresh = not _held(part)
            _persist(url, part, size, dated=sha256 is None)
            if not _has(part, sha256) and not fresh:  # the beginning was another file's
                part.unlink()
                _persist(url, part, size, dated=False)
        except _BrokenOff as error:
            raise InputError(
                f"cannot download '{label}' ({error}){_on_the_way(url, error.reason)}: fetch {url} "
                f"on a machine with a network and put it at '{target}'{remedy}"
            ) from error
        except Stopped as stop:
            stop.hint = f"the same command goes on with {part}"
            raise
        if not _has(part, sha256):
            there = f"{_held(part):,} bytes, SHA-256 {file_sha256(part)[:12]}…"
            part.unlink()
            raise InputError(
                f"the download of '{target.name}' has the wrong checksum ({there}, expected "
                f"{str(sha256)[:12]}…): try again{remedy}"
            )
        os.replace(part, target)


def _has(part: Path, sha256: str | None) -> bool:
    return sha256 is None or file_sha256(part) == sha256


def _held(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _persist(url: str, part: Path, size: int | None, *, dated: bool) -> None:
    """Fill ``part``, in as many attempts as that takes."""
    if size is not None and _held(part) > size:
        part.unlink()
    at_first = most = _held(part)
    waits = iter(_WAITS)
    while size is None or _held(part) != size:
        try:
            _receive(url, part, size, dated=dated)
            return
        except _BrokenOff as broken:
            if _held(part) > most:
                most, waits = _held(part), iter(_WAITS)
            unreached = most == at_first and not isinstance(broken.reason, HTTPError)
            wait = None if broken.final or unreached else next(waits, None)
            if wait is None:
                raise
            logger.warning("%s: %s; trying again in %g s", part.name, broken, wait)
            time.sleep(wait)


def _receive(url: str, part: Path, size: int | None, *, dated: bool) -> None:
    """One attempt: the rest of ``part``, or all of it where the server gives no rest.

    Args:
        dated: the rest only of a file with the date that ``part`` has, which is the server's.
    """
    held = _held(part)
    request = Request(url, headers={"User-Agent": "tai-dpt"})
    if held:
        request.add_header("Range", f"bytes={held}-")
        if dated:
            request.add_header("If-Range", formatdate(part.stat().st_mtime, usegmt=True))
    with _opened(request, part) as source:
        start, total = _extent(source)
        if start not in (0, held):
            part.unlink()
            raise _BrokenOff(f"it sent what begins at byte {start}, not {held}")
        if size is not None and total is not None and total != size:
            raise InputError(
                f"{url} has {total:,} bytes, and {size:,} are expected: it is another file than "
                "the one whose checksum is known; nothing was fetched"
            )
        if total is not None and shutil.disk_usage(part.parent).free < total - start:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
        try:
            with (
                naming(part),
                part.open("ab" if start else "wb") as sink,
                bar(
                    desc=part.stem,
                    unit="B",
                    unit_scale=True,
                    total=total,
                    initial=start,
                ) as progress,
            ):
                while block := _read(source):
                    sink.write(block)
                    progress.update(len(block))
                sink.flush()
                os.fsync(sink.fileno())
        finally:
            with suppress(TypeError, ValueError, OSError):  # no date, or none that is one
                date = parsedate_to_datetime(str(source.headers["Last-Modified"])).timestamp()
                os.utime(part, (date, date))
    whole, arrived = size if total is None else total, _held(part)
    if whole is not None and arrived < whole:
        raise _BrokenOff(f"it ended after {arrived:,} of {whole:,} bytes")
    if whole is not None and arrived > whole:
        part.unlink()
        raise _BrokenOff(f"it sent {arrived:,} bytes, and {whole:,} are expected", final=True)


def _opened(request: Request, part: Path) -> HTTPResponse:
    try:
        response: HTTPResponse = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # no such range: what is held is longer than the file
            part.unlink(missing_ok=True)
        raise _BrokenOff(error, final=error.code not in (*_PASSING, 416)) from error
    except (OSError, HTTPException) as error:
        raise _BrokenOff(getattr(error, "reason", None) or error) from error
    except ValueError as error:  # an address that is none, here or where it was moved to
        raise _BrokenOff(error, final=True) from error
    kind = response.headers.get_content_type()
    packed = response.headers.get("Content-Encoding", "identity")
    if kind == "text/html" or packed != "identity":
        response.close()
        what = "a web page, as networks do that want a log-in" if kind == "text/html" else packed
        raise _BrokenOff(f"it sent {what}, not the file as it is", final=True)
    return response


def _read(source: HTTPResponse) -> bytes:
    """What has arrived, as soon as it has: a connection that breaks then takes none of it along."""
    try:
        return source.read1(1 << 18)
    except (OSError, HTTPException) as error:
        raise _BrokenOff(error) from error


def _extent(source: HTTPResponse) -> tuple[int, int | None]:
    """The byte that the answer begins with, and the size of the whole file where that is told."""
    length = source.headers.get("Content-Length", "")
    said = source.headers.get("Content-Range", "") if source.status == 206 else ""
    span, _, total = said.removeprefix("bytes ").partition("/")
    start = span.partition("-")[0].strip()
    if source.status == 206 and not start.isdecimal():
        raise _BrokenOff(f"a part of it without saying which (Content-Range '{said}')", final=True)
    if total.isdecimal():
        return int(start), int(total)
    begin = int(start or 0)
    return begin, begin + int(length) if length.isdecimal() else None


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Of several processes on this machine one fetches ``target``; the others wait for it."""
    mark = hashlib.sha256(f"{os.getuid()} {target.absolute()}".encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"tai-dpt-fetch-{mark}"
    place.mkdir(exist_ok=True)
    waiting = partial(logger.warning, "another process fetches %s; waiting for it", target.name)
    with locked(place, 0, 1, waiting):
        yield


def _on_the_way(url: str, reason: object) -> str:
    """What between here and the publisher may be to blame, and how to mend that."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            "; the certificate is not one this machine trusts: where a proxy reads along, name its "
            "certificate with SSL_CERT_FILE"
        )
    scheme = urlsplit(url).scheme
    if (proxy := getproxies().get(scheme)) and not isinstance(reason, HTTPError):
        place = urlsplit(proxy)
        shown = place.netloc.rpartition("@")[2] or place.path  # without a password
        return f"; the proxy {shown} was asked, as {scheme}_proxy says: is that right?"
    return ""
