"""``tai-dpt train``, and ``train.py``: train or evaluate, with the flags of CoOp's ``train.py``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from tai_dpt.cli.exits import exit_code


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> None:
    """Train or evaluate, with the flags of CoOp's train.py."""
    sys.exit(main(arguments, prog="tai-dpt train"))


def main(argv: Sequence[str] | None = None, *, prog: str = "train.py") -> int:
    """Run a command line of ``prog``; returns the exit code, as in ``tai_dpt.cli.exits``."""
    return exit_code(prog, lambda: _run(argv, prog))


def _run(argv: Sequence[str] | None, prog: str) -> None:
    from tai_dpt import distributed
    from tai_dpt.trainers.run import build_parser, run, setup_cfg

    args = build_parser(prog).parse_args(argv)
    listed = "".join(f"{name}: {value}\n" for name, value in sorted(vars(args).items()))
    run(
        setup_cfg(args),
        eval_only=args.eval_only,
        model_dir=args.model_dir,
        load_epoch=args.load_epoch,
        no_train=args.no_train,
        overwrite=args.overwrite,
        header=f"** Arguments **\n{listed}",
    )
    distributed.shutdown()
