"""Errors that speak to the user in one line."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Mapping

_COMPARED = 200  # characters of a name with which the nearest is looked for


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """


def unknown(kind: str, name: object, valid: Iterable[str]) -> InputError:
    """The error for a name outside a closed list: the nearest name, then all valid ones.

    >>> str(unknown("backbone", "RN5", ["RN50", "ViT-B/16"]))
    "unknown backbone 'RN5'; did you mean 'RN50'? valid: RN50, ViT-B/16"
    >>> str(unknown("transform", 1, ["crop"]))
    "unknown transform '1'; valid: crop"
    """
    valid, name = list(valid), str(name)  # a list's entry may be anything
    folded = {v.lower(): v for v in valid}
    near = difflib.get_close_matches(name.lower()[:_COMPARED], list(folded), n=1)
    hint = f"; did you mean '{folded[near[0]]}'?" if near else ";"
    return InputError(f"unknown {kind} '{name}'{hint} valid: {', '.join(valid) or '(none)'}")


def shorten(text: str, most: int = 40) -> str:
    """The beginning of a text, for a message of one line.

    >>> shorten("very " * 74, 20)
    'very very very very…'
    """
    text = " ".join(text[: 2 * most + 2].split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """The number that a launcher left in the variable ``name``; ``default`` where it is not set.

    Raises:
        InputError: it is none from 0.
    """
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise InputError(f"{name} is '{text[:40]}' in the environment; it must be a whole number")
    return int(text)


def first_few(values: Iterable[object], most: int = 5, *, separator: str = ", ") -> str:
    """The first of many things, for a message; an ellipsis says that there are more.

    >>> first_few("abcd", 3)
    'a, b, c, …'
    """
    listed = [str(value) for value in values]
    return separator.join([*listed[:most], *(["…"] if len(listed) > most else [])])


#: signals that end a command; Windows has no SIGHUP
ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(BaseException):
    """A signal asked this process to end.

    No ``Exception``, so that nothing which mends errors takes it for one. What is left to do
    (``with``, ``finally``) is done on the way out.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.hint = ""  # how to go on, from whoever knows

    def __str__(self) -> str:
        how = "interrupted" if self.number == signal.SIGINT else "stopped"
        return f"{how} ({signal.Signals(self.number).name}){self.hint and '; '}{self.hint}"
