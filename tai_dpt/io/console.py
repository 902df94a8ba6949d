"""Manners that the commands share: warnings in one line, progress for people only."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "show_default": True}

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Nothing but the result.")
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


def bar(*, quiet: bool, **options: Any) -> tqdm:
    """A progress bar on stderr where that is a terminal, else nothing."""
    return tqdm(disable=quiet or not sys.stderr.isatty(), file=sys.stderr, **options)


def say(text: str, *, quiet: bool) -> None:
    """A line on stderr, for people."""
    if not quiet:
        click.echo(text, err=True)


def shown(name: str) -> str:
    """A file name as it can be printed: bytes that are no text become �."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
