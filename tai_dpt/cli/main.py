"""``tai-dpt``: one command, a subcommand for everything a person does."""

from __future__ import annotations

import importlib.util
import sys

import click
from click.shell_completion import CompletionItem

import tai_dpt
from tai_dpt.cli.exits import exit_code
from tai_dpt.errors import InputError

# subcommand -> the module and the name of its click command; imported when it is called, so
# that `tai-dpt --help` does not wait for torch
COMMANDS = {
    "demo": ("tai_dpt.cli.demo", "demo", "Learn from captions, recognise in images; a minute."),
    "train": (
        "tai_dpt.cli.train",
        "train",
        "Train or evaluate, with CoOp's flags.",
    ),
    "sweep": ("tai_dpt.cli.sweep", "sweep", "The runs of a table or figure of the paper."),
    "reproduce": (
        "tai_dpt.cli.reproduce",
        "reproduce",
        "A table of the paper, run and held to its figures.",
    ),
    "fit": ("tai_dpt.cli.fit", "fit", "Learn to recognise classes of your own, from text."),
    "tag": ("tai_dpt.cli.tag", "tag", "Say which classes are in each image."),
    "merge-tags": (
        "tai_dpt.cli.merge_tags",
        "merge_tags",
        "Join the parts that tag --shard wrote.",
    ),
    "explain": (
        "tai_dpt.cli.explain",
        "explain",
        "Show where in an image or caption a class is.",
    ),
    "app": ("tai_dpt.cli.app", "app", "A page to try a tagger on, and to correct it."),
    "calibrate": ("tai_dpt.cli.calibrate", "calibrate", "Make a tagger's probabilities better."),
    "adapt": ("tai_dpt.cli.adapt", "adapt", "Adapt a tagger to unlabelled photos."),
    "export": ("tai_dpt.cli.export", "export", "A tagger for services without this package."),
    "convert-weights": (
        "tai_dpt.cli.convert_weights",
        "convert_weights",
        "A weight file as safetensors.",
    ),
    "page": ("tai_dpt.cli.page", "page", "An HTML page of a training run."),
    "cache": ("tai_dpt.cli.cache", "cache", "What is kept between runs, and away with it."),
    "backbones": (
        "tai_dpt.cli.backbones",
        "backbones",
        "Which CLIPs can be asked for, which are here, what one can do.",
    ),
    "completion": ("tai_dpt.cli.completion", "completion", "Let a shell complete all this."),
    "get-data": ("tai_dpt.cli.get_data", "get_data", "Fetch benchmarks and captions."),
    "check-data": ("tai_dpt.cli.check_data", "check_data", "What data is there, what is not."),
    "grow-vocabulary": (
        "tai_dpt.cli.grow_vocabulary",
        "grow_vocabulary",
        "Find further words for classes in WordNet.",
    ),
    "label": ("tai_dpt.cli.label", "label", "Read class labels off captions."),
    "corpus": ("tai_dpt.cli.corpus", "corpus", "Show what a corpus of captions teaches."),
    "fuse": ("tai_dpt.cli.fuse", "fuse", "Fuse runs' scores; no model, milliseconds."),
    "rescore": ("tai_dpt.cli.rescore", "rescore", "Rectify a run's stored scores."),
    "report": ("tai_dpt.cli.report", "report", "Tables and figures of finished runs."),
    "emoji-scenes": (
        "tai_dpt.emoji_scenes.cli",
        "emoji_scenes",
        "Make the small world that ships with the project.",
    ),
}


def _is_installed(command: str) -> bool:
    """Whether the package of the command's module is there; a wheel lacks emoji-scenes'."""
    package = COMMANDS[command][0].rpartition(".")[0]
    return importlib.util.find_spec(package) is not None


def _show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from tai_dpt.cli.versions import in_use  # here: torch comes with it

        click.echo(f"tai-dpt {tai_dpt.__version__}")
        for name, found in in_use().items():
            click.echo(f"{name}: {found}")
        ctx.exit()


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if _is_installed(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if not _is_installed(cmd_name):
            raise InputError(f"'{cmd_name}' is left out of installed packages: run a checkout's")
        module, name, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, of which the commands' modules are not imported."""
        found = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=COMMANDS[name][2]) for name in found]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="This version, and the toolbox, clip and torch in use.",
)
def cli() -> None:
    """Prompts learned from captions that recognise many objects in images (TaI-DPT).

    Exit codes: 0 done, 1 something broke, 2 the input is wrong (one line says what), 130 and 143
    interrupted.
    """


def main() -> None:
    """The console entry point; exit codes as in ``tai_dpt.cli.exits``."""
    sys.exit(exit_code("tai-dpt", lambda: cli.main(prog_name="tai-dpt", standalone_mode=False)))


if __name__ == "__main__":
    main()
