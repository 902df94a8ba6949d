"""``tai-dpt train``, and ``train.py``: train or evaluate, with the flags of CoOp's ``train.py``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from typing import Any

import click
from click.shell_completion import CompletionItem

from tai_dpt.cli.exits import exit_code
from tai_dpt.cli.names import BACKBONE, FILE, TRAINER
from tai_dpt.io.console import JSON, QUIET, one_line_warnings, short_warnings
from tai_dpt.io.json_text import json_text
from tai_dpt.io.opening import expanded

_FILES = ("output_dir", "resume", "config_file", "dataset_config_file", "model_dir")


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the flag before takes; files behind any other."""
    words = ctx.params.get("arguments") or ("",)
    known = {"--trainer": TRAINER, "--backbone": BACKBONE}.get(words[-1], FILE)
    return known.shell_complete(ctx, param, incomplete)


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=_complete)
def train(arguments: tuple[str, ...]) -> None:
    """Train or evaluate, with the flags of CoOp's train.py."""
    sys.exit(main(arguments, prog="tai-dpt train"))


def main(argv: Sequence[str] | None = None, *, prog: str = "train.py") -> int:
    """Run a command line of ``prog``; returns the exit code, as in ``tai_dpt.cli.exits``."""
    return exit_code(prog, lambda: _run(argv, prog))


def _run(argv: Sequence[str] | None, prog: str) -> None:
    from tai_dpt import distributed
    from tai_dpt.scoring.metrics import percent
    from tai_dpt.trainers.run import build_parser, run, setup_cfg

    args = build_parser(prog).parse_args(argv)
    for name in _FILES:  # of --output-dir=~/x a shell leaves the ~
        setattr(args, name, os.fspath(expanded(given)) if (given := getattr(args, name)) else "")
    listed = "".join(f"{name}: {value}\n" for name, value in sorted(vars(args).items()))
    with click.Context(train) as context, one_line_warnings() if args.quiet else short_warnings():
        context.meta.update({JSON: args.json, QUIET: args.quiet})
        # what is no result is a message where the result is a document
        with redirect_stdout(sys.stderr) if args.json else nullcontext():
            trainer = run(
                setup_cfg(args),
                eval_only=args.eval_only,
                model_dir=args.model_dir,
                load_epoch=args.load_epoch,
                no_train=args.no_train,
                overwrite=args.overwrite,
                header=f"** Arguments **\n{listed}",
                quiet=args.quiet,
            )
        if distributed.is_main():
            if args.json:
                click.echo(json_text(_facts(trainer)))
            elif args.quiet:
                for kind, metrics in _facts(trainer)["metrics"].items():
                    click.echo(f"* {kind} mAP: {percent(metrics['mAP'])}")
    distributed.shutdown()


def _facts(trainer: Any) -> dict[str, Any]:
    """The result of a run; ``metrics`` is empty where nothing was evaluated."""
    cfg, found = trainer.cfg, getattr(trainer.evaluator, "results", {})
    return {
        "trainer": cfg.TRAINER.NAME,
        "seed": cfg.SEED,
        "output_dir": cfg.OUTPUT_DIR,
        "metrics": {kind: metrics.as_dict() for kind, metrics in found.items()},
    }
