"""``tai-dpt completion``: what makes a shell complete this command."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from tai_dpt.cli.command import command
from tai_dpt.errors import InputError
from tai_dpt.io.console import answer

VARIABLE = "_TAI_DPT_COMPLETE"


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> dict[str, str]:
    """Print what makes SHELL complete this command; left out: the shell that is in use.

    \b
    Examples:
      eval "$(tai-dpt completion bash)"             # in ~/.bashrc
      eval "$(tai-dpt completion zsh)"              # in ~/.zshrc
      tai-dpt completion fish > ~/.config/fish/completions/tai-dpt.fish

    Commands, options, files, backbones, class lists, data sets and methods are completed.
    """
    shell = shell or os.path.basename(os.environ.get("SHELL", ""))
    maker = get_completion_class(shell)
    if maker is None:
        raise InputError(f"'{shell}' is none that can complete: name bash, zsh or fish")
    root = click.get_current_context().find_root()
    script = maker(root.command, {}, "tai-dpt", VARIABLE).source()
    answer(script)
    return {"shell": shell, "script": script}
