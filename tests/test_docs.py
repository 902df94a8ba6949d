"""Every command in these pages runs, and every file they name exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import click
import pytest

from tai_dpt.cli.main import cli
from tai_dpt.trainers.run import build_parser

from places import ROOT

PAGES = ("README.md", "REPRODUCE.md", "docs/methods.md")


def commands(page: str) -> list[str]:
    """The lines of the fenced bash blocks, continued ones joined."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def shortened(command: str, folder: Path) -> str:
    """The command as a test can afford it: less work, no other data, output elsewhere."""
    if "scripts/test.sh" in command or "benchmarks/run.sh" in command:
        return "bash -n " + re.search(r"\S+\.sh", command)[0]  # the tests do run both
    if "scripts/tour.sh" in command:
        return f"EPOCHS=1 {command}"
    if "scripts/quickstart.sh" in command or "tai-dpt demo" in command:
        command = re.sub(r" --seed \d", "", command)
        return f"{command} --epochs 1 --out {folder}"
    if re.search(r"scripts/(table|figure|beyond|zero_shot)|tai-dpt reproduce", command):
        place = re.compile(r"/path/to/datasets|(?<=--root )DATA\b")
        return place.sub(str(folder), f"{command} --dry-run")
    return command


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """One for all: what a command encoded, the next finds, as it is for a reader."""
    return tmp_path_factory.mktemp("cache")


CASES = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(("page", "command"), CASES, ids=[c for _, c in CASES])
def test_command_runs(page, command, tmp_path, cache):
    environment = os.environ | {
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        "TAI_DPT_CACHE": str(cache),
        "OUT": str(tmp_path / "output"),
    }
    finished = subprocess.run(
        ["bash", "-c", shortened(command, tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]


GUIDES = sorted(["DATASETS.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])


def known_options(name: str) -> set[str]:
    """The options that ``tai-dpt NAME`` takes."""
    if name == "train":
        return set(build_parser()._option_string_actions)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, f"no command tai-dpt {name}"
    return {option for parameter in command.params for option in parameter.opts} | {"--help"}


@pytest.mark.parametrize("page", GUIDES)
def test_commands_of_the_guides_have_the_options_they_are_given(page):
    for command in commands(page):
        called = re.match(r"tai-dpt ([\w-]+)|python train\.py", command)
        if called:
            given = set(re.findall(r"(?<=\s)--[\w-]+", command))
            assert given <= known_options(called[1] or "train"), command


ALL_PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)(?:#[^)]*)?\)", text)
    named = re.findall(r"`((?:tests|tai_dpt|benchmarks|scripts|data|docs)/[\w./]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    assert not missing
