"""Manners that the commands share: warnings in one line, progress for people only."""

from __future__ import annotations

import codecs
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
from tqdm import tqdm

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "show_default": True}

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Nothing but the result.")
device_option = click.option(
    "--device",
    default="auto",
    metavar="auto|cpu|gpu|cuda|cuda:N|mps",
    help="Where to compute; auto takes CUDA, else MPS, else the CPU.",
)
backbone_file_option = click.option(
    "--backbone",
    metavar="FILE",
    help="The backbone's weights, for a tagger folder that does not contain them.",
)


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Warnings as a line on stderr, without the place in the code that raised them."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        click.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


def bar(*, quiet: bool, **options: Any) -> tqdm[Any]:
    """A progress bar on stderr where that is a terminal, else nothing."""
    return tqdm(disable=quiet or not sys.stderr.isatty(), file=sys.stderr, **options)


def say(text: str, *, quiet: bool) -> None:
    """A line on stderr, for people."""
    if not quiet:
        click.echo(text, err=True)


def shown(name: str) -> str:
    """A file name as it can be printed: bytes that are no text become �."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _as_it_came(error: UnicodeError) -> tuple[str | bytes, int]:
    """What a stream's encoding lacks: raw bytes of a file name as they were, else an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeEncodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error("as_it_came", _as_it_came)


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Let stdout and stderr take every text: a job must not die of a dash in a Latin-1 log."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="as_it_came")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with suppress(ValueError, OSError):  # closed, or nobody reads it any more
                stream.reconfigure(errors=errors)


def silence(stream: Any) -> None:
    """Send what is still written to a stream that cannot be written to nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
