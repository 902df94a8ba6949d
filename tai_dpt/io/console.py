"""Manners that the commands share: warnings in one line, progress for people only."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import click
from tqdm import tqdm

from tai_dpt.io.atomic import naming

# what a terminal takes for orders: control characters, and those that turn what follows around
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# characters of a message: what is wrong comes first, the way out last
_MOST_TOLD, _TAIL = 2_000, 500
# what every command can be asked for, in its click context's meta
JSON, QUIET = "tai_dpt.json", "tai_dpt.quiet"
_UNTOLD = "tai_dpt.untold"  # there, too: why the first answer that could not be given was not


def asked_for(manner: str) -> bool:
    """Whether the command that is running was given ``JSON`` or ``QUIET``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(manner))


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Warnings as a line on stderr, without the place in the code that raised them."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        say(f"warning: {told(str(message))}")

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def short_warnings() -> Iterator[None]:
    """Warnings in one line, wherever Python shows or records them."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {told(str(message))}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def bar(**options: Any) -> tqdm[Any]:
    """A progress bar on stderr where that is a terminal and nobody asked for quiet."""
    hidden = asked_for(QUIET) or not sys.stderr.isatty()
    return tqdm(disable=hidden, file=sys.stderr, **options)


@contextmanager
def step_bar() -> Iterator[Callable[[int, int, float], None]]:
    """A bar of training steps; gives what is to be told (steps done, steps in all, loss)."""
    with bar(desc="learning", unit=" steps") as progress:

        def step(done: int, total: int, loss: float) -> None:
            progress.total = total
            progress.set_postfix_str(f"loss {loss:.2f}", refresh=False)
            progress.update(done - progress.n)

        yield step


def say(text: str) -> None:
    """A note on stderr, for people; ``--quiet`` leaves it out. It stands above a bar there is."""
    if not asked_for(QUIET):
        with tqdm.external_write_mode(file=sys.stderr):
            click.echo(text, err=True)


def answer(text: str) -> None:
    """Lines of the result on stdout, for people; ``--json`` has one document in their place.

    A stdout that is full or read by nobody any more does not keep a command from writing its
    files: ``all_answered`` complains at its end.
    """
    if asked_for(JSON):
        return
    try:
        click.echo(text)
    except OSError as error:
        context = click.get_current_context(silent=True)
        if context is None:
            raise
        silence(sys.stdout)
        context.meta.setdefault(_UNTOLD, error)


def all_answered() -> None:
    """Raise what kept an ``answer`` of the command that is running from being given."""
    untold = click.get_current_context().meta.get(_UNTOLD)
    if untold is not None:
        raise untold


def one_line(text: str) -> str:
    r"""A text without the line breaks, and the orders to a terminal, that a file's name may bring.

    >>> one_line("a\nb\x1b[2J")
    'a b\\x1b[2J'
    """
    return _ORDERS.sub(lambda found: repr(found[0])[1:-1], " ".join(text.splitlines()))


def told(text: str) -> str:
    """A message as one line, without its middle where a name or a cell in it has no end.

    >>> len(told("no such file: " + "x" * 100_000 + "; did you mean 'y'?"))
    2003
    """
    line = one_line(text)
    if len(line) <= _MOST_TOLD:
        return line
    return f"{line[: _MOST_TOLD - _TAIL]} … {line[-_TAIL:]}"


def as_text(name: str) -> str:
    """A file name without the bytes that are no text, which become �."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def shown(name: str) -> str:
    """A file name, or a line with one in it, as it can be printed in a line."""
    return one_line(as_text(name))


def _as_it_came(error: UnicodeError) -> tuple[str | bytes, int]:
    """What a stream's encoding lacks: raw bytes of a file name as they were, else an escape that
    JSON has, too."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeEncodeError:
        return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error("as_it_came", _as_it_came)


class Nowhere(io.TextIOBase):
    """Takes everything and keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


class _Guarded:
    """A text stream that is written to in a context; None, closed from the start, is nowhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream or Nowhere()

    def write(self, text: str) -> int:
        with self._guard():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._guard():
            self.stream.flush()

    def _guard(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)  # encoding, isatty, fileno, …


class Lasting(_Guarded):
    """A stream that ends no work: once it cannot be written to, as nobody reads it any more
    (``| head``) or it is full, what is said goes nowhere."""

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            silence(self.stream)


class _Stdout(_Guarded):
    """Its errors say what it is: a full device names no file."""

    def _guard(self) -> AbstractContextManager[None]:
        return naming("standard output")


def open_closed_streams() -> None:
    """Let those of stdin, stdout and stderr that were closed (``>&-``) lead nowhere.

    Python has None in their place, and the next file that is opened would get the number of one:
    what a library says on stderr would end in it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Let stdout and stderr take every text: a job must not die of a dash in a Latin-1 log, nor of
    a note that nobody can read.

    Where they take ASCII alone (``LC_ALL=C``) they get UTF-8, as click prints it, and as names of
    files in a list must be.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [(stream.encoding, stream.errors) for stream in streams]
    for stream, (encoding, _) in zip(streams, before, strict=True):
        ascii_alone = codecs.lookup(encoding).name == "ascii"
        stream.reconfigure(encoding="utf-8" if ascii_alone else encoding, errors="as_it_came")
    stdout, stderr = sys.stdout, sys.stderr
    guarded: Any = _Stdout(stdout)
    sys.stdout, sys.stderr = guarded, Lasting(stderr)
    try:
        yield
    finally:
        sys.stderr = stderr
        if sys.stdout is guarded:  # click puts another in the place of one that nobody reads
            sys.stdout = stdout
        for stream, (encoding, errors) in zip(streams, before, strict=True):
            with suppress(ValueError, OSError):  # closed, or nobody reads it any more
                stream.reconfigure(encoding=encoding, errors=errors)


def silence(stream: Any) -> None:
    """Send what is still written to a stream that cannot be written to nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
