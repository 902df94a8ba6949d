"""The door to files that a user names: regular ones, and pipes where they are read once.

A named pipe, a socket or a device would let a command wait for ever; a folder, a missing or a
closed file is told the same way everywhere.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from tai_dpt.errors import InputError

PathLike = str | os.PathLike[str]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# where what the shell hands over open is found: <(…), and standard input
_HANDED_OVER = re.compile(r"/dev/fd|/proc/\d+/fd")


def expanded(path: PathLike) -> Path:
    """A path with the home that ``~`` at its beginning stands for.

    Raises:
        InputError: nobody is called so, and no file either.
    """
    plain = os.path.expanduser(path)  # pathlib's own raises RuntimeError
    if plain.startswith("~") and not os.path.lexists(plain):
        home = plain.split("/")[0]
        raise InputError(f"{plain}: '{home}' is nobody's home here; write the path out")
    return Path(plain)


def why_no_file(path: PathLike, *, pipe: bool = False) -> str:
    """What keeps ``path`` from being read as a file: "no such file", "a folder", …; "" if nothing.

    Args:
        pipe: it is opened once and read from its beginning to its end, so that what the shell
            hands over, as ``<(…)`` or ``/dev/stdin``, will do. A pipe that has a name may have
            nobody who writes to it.
    """
    try:
        mode = os.stat(path).st_mode
        if pipe and stat.S_ISFIFO(mode) and _is_handed_over(path):
            return ""
        if stat.S_ISREG(mode):
            os.close(os.open(path, os.O_RDONLY))
            return ""
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL, half a character
        return "no such file"
    except OSError as error:
        return error.strerror or str(error)
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def special_kind(path: PathLike) -> str:
    """What is at ``path`` where that is no regular file: "a folder", "a pipe", …; "" if one or
    nothing."""
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except (OSError, ValueError):
        return ""


def open_file(path: PathLike, *, pipe: bool = False, remedy: str = "") -> BinaryIO:
    """Open a file for reading; see ``why_no_file``.

    Args:
        remedy: what the user can do about it, for the message.

    Raises:
        InputError: it is none, or cannot be read.
    """
    check_file(path, pipe=pipe, remedy=remedy)
    return Path(path).open("rb")


def check_file(path: PathLike, *, pipe: bool = False, remedy: str = "") -> None:
    """As ``open_file`` complains, for readers that open it themselves."""
    why = why_no_file(path, pipe=pipe)
    if not why:
        return
    remedy = f"; {remedy}" if remedy else ""
    if why == "no such file":
        raise InputError(f"no such file: {os.fspath(path)}{remedy}")
    if why in _KINDS.values():
        raise InputError(f"{os.fspath(path)} is {why}; a file is needed{remedy}")
    raise InputError(f"cannot read {os.fspath(path)}: {why}{remedy}")


def _is_handed_over(path: PathLike) -> bool:
    return bool(_HANDED_OVER.fullmatch(os.path.dirname(os.path.realpath(path))))
