"""The class of every command: an option that is given twice repeats or is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tai_dpt.io.console import CONTEXT


class Command(click.Command):
    """click's own command takes the last of an option given twice, silently."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; complains of an option that takes one value and was given two.

        Raises:
            click.UsageError: with the option and how often it was given.
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
        return super().parse_args(ctx, args)


def command(name: str | None = None, **context: Any) -> Callable[[Callable[..., Any]], Command]:
    """``@command()``: as ``click.command``, with this project's manners.

    Args:
        context: settings of the context beside those of ``CONTEXT``.
    """
    return click.command(name, cls=Command, context_settings=CONTEXT | context)
