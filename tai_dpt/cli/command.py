"""The class of every command: what all of them do alike.

Each has ``--json`` and ``--quiet``; an option that is given twice repeats or is refused, and so is
one that would do nothing beside the others; warnings are lines on stderr. A command's function
prints for people with ``answer`` (the result, stdout) and
``say`` (notes, stderr), and returns the result as plain values, which is what ``--json`` prints.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from tai_dpt.cli.names import Known
from tai_dpt.io.console import JSON, QUIET, all_answered, one_line_warnings
from tai_dpt.io.json_text import json_text
from tai_dpt.io.opening import expanded

# where home cannot be written it tells of its font cache, in several lines
logging.getLogger("matplotlib").setLevel(logging.ERROR)

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "show_default": True}


_NO_NUMBER = re.compile(r"is not a valid (integer|float)( range)?\.")


def _no_number(said: re.Match[str]) -> str:
    return "is no whole number" if said[1] == "integer" else "is no number"


class Ended(NamedTuple):
    """A result, and the exit code that goes with it."""

    facts: Any
    code: int


class Beside:
    """What an option counts beside: another parameter of its command, by name.

    With ``values`` that one must have one of them; else it must have been given, or, for
    ``absent``, not.
    """

    def __init__(self, name: str, *values: str, absent: bool = False) -> None:
        self.name, self.values, self.absent = name, values, absent

    def holds(self, ctx: click.Context) -> bool:
        """Whether the command line is so."""
        value = ctx.params.get(self.name)
        if self.values:
            return value in self.values
        return (value in (None, (), False)) == self.absent

    def told(self, ctx: click.Context) -> str:
        """It as one writes it."""
        flag, words = _flag(ctx, self.name), _or(self.values)
        return words if words and not flag.startswith("-") else f"{flag} {words}".strip()


def _flag(ctx: click.Context, name: str) -> str:
    """How a parameter is written."""
    parameter = next(p for p in ctx.command.params if p.name == name)
    return (
        parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
    )


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _manner(key: str, *names: str, help: str) -> click.Option:
    """A flag that is kept for ``tai_dpt.io.console.asked_for``."""

    def keep(context: click.Context, _: click.Parameter, given: bool) -> None:
        context.meta[key] = given

    return click.Option(names, is_flag=True, expose_value=False, callback=keep, help=help)


class Command(click.Command):
    """A command with this project's manners (see the module).

    Args:
        counts: for an option, by name, what it counts beside: any of these.
    """

    def __init__(
        self, *args: Any, counts: Mapping[str, Beside | tuple[Beside, ...]] = {}, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.counts = {k: v if isinstance(v, tuple) else (v,) for k, v in counts.items()}
        self.params += [
            _manner(JSON, "--json", help="The result as one JSON document on stdout."),
            _manner(QUIET, "-q", "--quiet", help="No progress, notes or warnings on stderr."),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; complains of an option that takes one value and was given two, of one that
        would do nothing, of NaN, and of a file without a name.

        Raises:
            click.UsageError: with the option and how often it was given, what it counts beside, or
                its value.
        """
        given, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in () if ctx.resilient_parsing else order:
            self._check_named(ctx, option, given.get(str(option.name)))
            single = isinstance(option, click.Option) and not (option.multiple or option.is_flag)
            if single and order.count(option) > 1:
                raise click.UsageError(
                    f"{option.opts[0]} was given {order.count(option)} times and takes one value: "
                    "leave out all but one",
                    ctx,
                )
        try:
            rest = super().parse_args(ctx, args)
        except click.BadParameter as error:  # click's own words: no valid integer range
            plain = _NO_NUMBER.sub(_no_number, error.message)
            if plain == error.message:
                raise
            raise click.BadParameter(plain, error.ctx, error.param, error.param_hint) from None
        for name, value in ctx.params.items():
            if isinstance(value, Path):  # of --out=~/x a shell leaves the ~
                ctx.params[name] = expanded(value)
            if isinstance(value, float) and not math.isfinite(value):
                option = next(p for p in self.params if p.name == name)
                raise click.BadParameter(f"{value} is no number to work with", ctx, option)
        if not ctx.resilient_parsing:
            self._check_counting(ctx)
        return rest

    @staticmethod
    def _check_named(ctx: click.Context, parameter: click.Parameter, given: Any) -> None:
        """Complain of "", of which pathlib makes the current folder: "$DATA" that is not set."""
        files = isinstance(parameter.type, click.Path | Known)
        if files and "" in (given if isinstance(given, list | tuple) else (given,)):
            flag = _flag(ctx, str(parameter.name))
            raise click.UsageError(
                f"{flag} is empty, as is a shell's variable that is not set: give a name", ctx
            )

    def _check_counting(self, ctx: click.Context) -> None:
        """Complain of an option on the command line (in the environment it may be for another
        command) that would do nothing beside the others."""
        for name, beside in self.counts.items():
            typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
            if not typed or ctx.params[name] is False or any(it.holds(ctx) for it in beside):
                continue
            flag, first = _flag(ctx, name), beside[0]
            if first.absent:
                raise click.UsageError(
                    f"{flag} does nothing beside {first.told(ctx)}: leave one of them out", ctx
                )
            said = f"{flag} goes with {_or([it.told(ctx) for it in beside])}"
            if first.values and (given := ctx.params[first.name]):
                said += f", not {given}"
            what = "one of these" if first.values[1:] or beside[1:] else "that"
            verb = "choose" if first.values else "add"
            raise click.UsageError(f"{said}: {verb} {what}, or leave {flag} out", ctx)

    def invoke(self, ctx: click.Context) -> None:
        """Run it, and print what it returns where JSON is asked for."""
        with one_line_warnings(), _only_the_document(ctx):
            returned = super().invoke(ctx)
        facts, code = returned if isinstance(returned, Ended) else (returned, 0)
        if ctx.meta[JSON]:
            click.echo(json_text(facts))
        all_answered()
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


def command(
    name: str | None = None,
    *,
    counts: Mapping[str, Beside | tuple[Beside, ...]] = {},
    **context: Any,
) -> Callable[[Callable[..., Any]], Command]:
    """``@command()``: as ``click.command``, with this project's manners.

    Args:
        counts: for an option, by name, what it counts beside: any of these; else it is refused.
        context: settings of the context beside those of ``CONTEXT``.
    """
    return click.command(name, cls=Command, counts=counts, context_settings=CONTEXT | context)
