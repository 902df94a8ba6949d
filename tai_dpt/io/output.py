"""Where output goes: one rule for every command, and complaints before any work is done.

A file or folder that is there is not replaced unless ``--overwrite`` says so; one that is an
input never is. ``check_output`` finds out; what it lets through can be written.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tai_dpt.errors import InputError
from tai_dpt.io.atomic import undisturbed
from tai_dpt.io.cache import ELSEWHERE, cache_root
from tai_dpt.io.opening import special_kind

PathLike = str | os.PathLike[str]

_LEAST_ROOM = 1 << 16  # bytes that are tried

# what to do about an OSError, by its number
_WAYS_OUT = {
    errno.ENOSPC: "free some room there, or write elsewhere",
    errno.EDQUOT: "free some room there, or write elsewhere",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f), or write elsewhere",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.EEXIST: "it is a file where a folder is to be: move it away, or choose another place",
    errno.ENOTDIR: "a part of the path is a file: choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link that leads to itself: choose another path",
    errno.EISDIR: "give the name of a file",
    errno.EMFILE: "raise the limit (ulimit -n), or lower the number of workers",
    errno.EIO: "the disk or the network folder has a fault",
    errno.ENOENT: "a folder on the way is missing or cannot be made",
}


def check_output(
    path: PathLike,
    *,
    overwrite: bool,
    inputs: Iterable[PathLike] = (),
    option: str = "--out",
    needs: int = _LEAST_ROOM,
) -> Path:
    """Complain, before any work, about an output file that cannot or must not be written.

    Returns: the path to write to: where ``path`` is a link, what it leads to, so that it stays one.

    Args:
        overwrite: whether the user said that what is there may go.
        inputs: what the command reads: never overwritten, whatever name leads to it.
        option: the option that named it, for the message.
        needs: bytes that will be written.

    Raises:
        InputError: no name, an input, there already, no file, no room, or not writable.
    """
    path = _named(path, option)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    _check_may_go(path, overwrite=overwrite, inputs=inputs, option=option)
    check_room(path.parent, needs=needs, name=path.name, option=option)
    return path


def check_output_folder(
    folder: PathLike,
    files: Iterable[str],
    *,
    overwrite: bool,
    inputs: Iterable[PathLike] = (),
    option: str = "--out",
    needs: int = _LEAST_ROOM,
) -> None:
    """As ``check_output``, of a folder in which ``files`` will be written; others stay."""
    folder = _named(folder, option)
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file; {option} is a folder")
    for name in files:
        _check_may_go(folder / name, overwrite=overwrite, inputs=inputs, option=option)
    check_room(folder, needs=needs, option=option)


def check_room(
    folder: PathLike, *, needs: int = _LEAST_ROOM, name: str = "", option: str = "--out"
) -> None:
    """Find out whether a file ``name``, or any, can be written in ``folder``, made or still to be.

    Raises:
        InputError: it cannot; the message says why and names ``option``.
    """
    folder = Path(folder)
    try:
        with suppress(FileNotFoundError):
            os.lstat(folder / name)  # complains of a name that is too long, a link to itself, …
        place = folder
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
        with (
            undisturbed(),
            tempfile.TemporaryDirectory(prefix=".tai-dpt-", dir=place) as trial,
        ):
            Path(trial, "room").write_bytes(bytes(_LEAST_ROOM))
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise InputError(f"{os_error(error, at=folder / name)} ({option})") from None
    if free < needs:
        raise InputError(
            f"{place.absolute()} has {free / 1e6:,.0f} MB free and {needs / 1e6:,.0f} MB will be "
            f"written: free some room, or choose another {option}"
        )


def os_error(error: OSError, *, at: PathLike | None = None) -> str:
    """An ``OSError`` as one line: the path, what is wrong with it, and the way out."""
    path = at if at is not None else error.filename
    if path is None and error.errno == errno.ENOENT:  # what else is looked for without a name
        path = "the current folder"
    reason = error.strerror or str(error) or type(error).__name__
    way_out = _WAYS_OUT.get(error.errno or 0)
    with suppress(InputError):  # of the cache's own name
        whole = Path(os.fsdecode(path or ""))
        if path is not None and cache_root() in (whole, *whole.parents):
            way_out = ELSEWHERE
    where = f"{os.fsdecode(path)}: " if path is not None else ""
    return f"{where}{reason}{f'; {way_out}' if way_out else ''}"


def _named(path: PathLike, option: str) -> Path:
    if not os.fspath(path) or not Path(path).name:
        raise InputError(f"{option} is '{os.fspath(path)}': give a name")
    if os.fspath(path) == "-":
        raise InputError(f"{option} is '-', which stands for no file here: give a name")
    return Path(path)


def _check_may_go(path: Path, *, overwrite: bool, inputs: Iterable[PathLike], option: str) -> None:
    """Complain about a path that is there and must stay."""
    for given in inputs:
        if os.path.exists(path) and os.path.exists(given) and os.path.samefile(path, given):
            raise InputError(f"{path} is what is read: choose another {option}")
    if kind := special_kind(path):  # a device would be replaced by a file
        raise InputError(f"{path} is {kind}, no file: choose another {option}")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} exists; choose another {option}, or add --overwrite")
