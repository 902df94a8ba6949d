"""The class of every command: what all of them do alike.

Each has ``--json`` and ``--quiet``; an option that is given twice repeats or is refused; warnings
are lines on stderr. A command's function prints for people with ``answer`` (the result, stdout) and
``say`` (notes, stderr), and returns the result as plain values, which is what ``--json`` prints.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, NamedTuple

import click

from tai_dpt.io.console import JSON, QUIET, one_line_warnings
from tai_dpt.io.json_text import json_text

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "show_default": True}


class Ended(NamedTuple):
    """A result, and the exit code that goes with it."""

    facts: Any
    code: int


def _manner(key: str, *names: str, help: str) -> click.Option:
    """A flag that is kept for ``tai_dpt.io.console.asked_for``."""

    def keep(context: click.Context, _: click.Parameter, given: bool) -> None:
        context.meta[key] = given

    return click.Option(names, is_flag=True, expose_value=False, callback=keep, help=help)


class Command(click.Command):
    """A command with this project's manners (see the module)."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += [
            _manner(JSON, "--json", help="The result as one JSON document on stdout."),
            _manner(QUIET, "-q", "--quiet", help="No progress, notes or warnings on stderr."),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; complains of an option that takes one value and was given two, and of NaN.

        Raises:
            click.UsageError: with the option and how often it was given, or its value.
        """
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in () if ctx.resilient_parsing else order:
            single = isinstance(option, click.Option) and not (option.multiple or option.is_flag)
            if single and order.count(option) > 1:
                raise click.UsageError(
                    f"{option.opts[0]} was given {order.count(option)} times and takes one value: "
                    "leave out all but one",
                    ctx,
                )
        rest = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                option = next(p for p in self.params if p.name == name)
                raise click.BadParameter(f"{value} is no number to work with", ctx, option)
        return rest

    def invoke(self, ctx: click.Context) -> None:
        """Run it, and print what it returns where JSON is asked for."""
        with one_line_warnings(), _only_the_document(ctx):
            returned = super().invoke(ctx)
        facts, code = returned if isinstance(returned, Ended) else (returned, 0)
        if ctx.meta[JSON]:
            click.echo(json_text(facts))
        if code:
            ctx.exit(code)


@contextmanager
def _only_the_document(ctx: click.Context) -> Iterator[None]:
    """Keep stdout for the document: what else is printed there becomes a note."""
    if not ctx.meta[JSON]:
        yield
        return
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere if ctx.meta[QUIET] else sys.stderr),
    ):
        yield


def command(name: str | None = None, **context: Any) -> Callable[[Callable[..., Any]], Command]:
    """``@command()``: as ``click.command``, with this project's manners.

    Args:
        context: settings of the context beside those of ``CONTEXT``.
    """
    return click.command(name, cls=Command, context_settings=CONTEXT | context)
