"""Unpacking archives: nothing outside the folder, no half files, nothing replaced unasked."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from tai_dpt.errors import InputError
from tai_dpt.io.atomic import naming, temporary_name
from tai_dpt.io.console import bar
from tai_dpt.io.opening import check_file
from tai_dpt.io.output import check_room
from tai_dpt.io.reading import first_line

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
_DAMAGED: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError),
    *(zlib.error, lzma.LZMAError, NotImplementedError),  # the last: of a method nobody uses
)


class _Member(NamedTuple):
    name: str
    size: int
    regular: bool  # no link, no device, nothing encrypted
    open: Callable[[], IO[bytes] | None]


def is_archive(name: str) -> bool:
    """By its ending."""
    return name.lower().endswith(_ENDINGS)


def stays_inside(name: str) -> bool:
    """Whether a relative path leads nowhere but down, on any system."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    up = any(path.is_absolute() or path.anchor or ".." in path.parts for path in paths)
    return not up and "\0" not in name


def unpack(
    archive: Path, folder: Path, *, most: int | None = None, overwrite: bool = False
) -> list[str]:
    """Write what is in a zip or tar file below ``folder``; a file appears when it is whole.

    A file of the same size that is there is taken for done, so that the same call goes on after
    an interruption.

    Args:
        most: bytes; an archive that becomes more is refused.

    Returns:
        Names that are there with another size and stay, unless ``overwrite`` says that they go.

    Raises:
        InputError: it is damaged, becomes too much, has names that lead out of ``folder`` or links,
            or there is no room; only damage inside a file is found on the way.
    """
    check_file(archive)
    try:
        with _members(archive) as members:
            listed = list(members)
            for member in listed:
                if not stays_inside(member.name) or not member.regular:
                    raise InputError(
                        f"{archive} holds '{member.name}', which leads out of the folder, or is a "
                        "link or encrypted: nothing was unpacked"
                    )
            names = {PurePosixPath(member.name) for member in listed}
            if both := names & {folder for name in names for folder in name.parents}:
                raise InputError(
                    f"{archive} is damaged ('{min(both)}' is a file and a folder in it): delete it "
                    "and get it again"
                )
            total = sum(member.size for member in listed)
            if most is not None and total > most:
                raise InputError(
                    f"{archive} becomes {total / 1e6:,.0f} MB, and at most {most / 1e6:,.0f} are "
                    "expected of it: nothing was unpacked"
                )
            missing, differ = [], []
            for member in listed:
                path = folder / member.name
                if not os.path.lexists(path) or (overwrite and not _is_done(path, member)):
                    missing.append(member)
                elif not _is_done(path, member):
                    differ.append(member.name)
            check_room(folder, needs=sum(member.size for member in missing), option="--root")
            for member in bar(iterable=missing, desc=archive.name, unit=" files"):
                _write(member, folder / member.name)
    except _DAMAGED as error:
        problem = first_line(error)
        raise InputError(f"{archive} is damaged ({problem}): delete it and get it again") from None
    return differ


def _is_done(path: Path, member: _Member) -> bool:
    return path.is_file() and path.stat().st_size == member.size


def _write(member: _Member, path: Path) -> None:
    """Without waiting for the disk at each file: a benchmark has 80,000."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        source = member.open()
        assert source is not None
        with source, naming(path), temporary.open("xb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """The files in an archive, folders left out."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield (
                _Member(i.filename, i.file_size, _is_regular(i), partial(opened.open, i))
                for i in opened.infolist()
                if not i.is_dir()
            )
        return
    with tarfile.open(archive) as tar:
        yield (
            _Member(info.name, info.size, info.isreg(), partial(tar.extractfile, info))
            for info in tar
            if not info.isdir()
        )


def _is_regular(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG) and not info.flag_bits & 1
