"""Manners that the commands share: warnings in one line, progress for people only."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
from tqdm import tqdm

# what a terminal takes for orders: control characters, and those that turn what follows around
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# what every command can be asked for, in its click context's meta
JSON, QUIET = "tai_dpt.json", "tai_dpt.quiet"


def asked_for(manner: str) -> bool:
    """Whether the command that is running was given ``JSON`` or ``QUIET``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(manner))


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Warnings as a line on stderr, without the place in the code that raised them."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        say(f"warning: {one_line(str(message))}")

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def short_warnings() -> Iterator[None]:
    """Warnings in one line, wherever Python shows or records them."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {one_line(str(message))}\n"
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
    """Lines of the result on stdout, for people; ``--json`` has one document in their place."""
    if not asked_for(JSON):
        click.echo(text)


def one_line(text: str) -> str:
    r"""A text without the line breaks, and the orders to a terminal, that a file's name may bring.

    >>> one_line("a\nb\x1b[2J")
    'a b\\x1b[2J'
    """
    return _ORDERS.sub(lambda found: repr(found[0])[1:-1], " ".join(text.splitlines()))


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


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Let stdout and stderr take every text: a job must not die of a dash in a Latin-1 log.

    Where they take ASCII alone (``LC_ALL=C``) they get UTF-8, as click prints it, and as names of
    files in a list must be.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [(stream.encoding, stream.errors) for stream in streams]
    for stream, (encoding, _) in zip(streams, before, strict=True):
        ascii_alone = codecs.lookup(encoding).name == "ascii"
        stream.reconfigure(encoding="utf-8" if ascii_alone else encoding, errors="as_it_came")
    try:
        yield
    finally:
        for stream, (encoding, errors) in zip(streams, before, strict=True):
            with suppress(ValueError, OSError):  # closed, or nobody reads it any more
                stream.reconfigure(encoding=encoding, errors=errors)


def silence(stream: Any) -> None:
    """Send what is still written to a stream that cannot be written to nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
