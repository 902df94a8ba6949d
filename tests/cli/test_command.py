"""What every command does alike."""

from __future__ import annotations

import click
import pytest

from tai_dpt.cli.command import Command
from tai_dpt.cli.main import COMMANDS, cli
from tai_dpt.cli.train import main as train

from taggers import run

PLAIN = [name for name in COMMANDS if name not in ("train", "emoji-scenes")]


def found(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def single_options(name: str) -> list[click.Option]:
    return [
        p
        for p in found(name).params
        if isinstance(p, click.Option) and not p.is_flag and not p.multiple
    ]


def value_of(option: click.Option) -> str:
    """One that the option's type takes."""
    if isinstance(option.type, click.Choice):
        return str(option.type.choices[0])
    return "1"


CASES = [(name, o.opts[0]) for name in PLAIN for o in single_options(name)]


@pytest.mark.parametrize(("name", "flag"), CASES, ids=lambda value: value)
def test_an_option_that_takes_one_value_refuses_two(name, flag):
    (option,) = (o for o in single_options(name) if flag in o.opts)
    twice = [flag, value_of(option), flag, value_of(option)]
    code, _, err = run(name, *twice)
    assert code == 2
    assert f"{flag} was given 2 times and takes one value" in err


@pytest.mark.parametrize("name", PLAIN)
def test_every_command_is_of_that_class(name):
    assert isinstance(found(name), Command)


def test_of_trains_flags_the_last_counts_as_in_coop(capsys):
    assert train(["--seed", "1", "--config-file", "a.yaml", "--config-file", "b.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("warning: --config-file was given twice: the last counts\n")
    assert "b.yaml" in said.splitlines()[-1]
