"""Every command in these pages runs, and every file they name exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

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
    if re.search(r"(scripts/test|benchmarks/run|scripts/tour)\.sh", command):
        return "bash -n " + re.search(r"\S+\.sh", command)[0]  # other tests do run them
    if "scripts/quickstart.sh" in command or "tai-dpt demo" in command:
        command = re.sub(r" --seed \d", "", command)
        return f"{command} --epochs 1 --out {folder}"
    if re.search(r"scripts/(table|figure|beyond|zero_shot)|tai-dpt reproduce", command):
        place = re.compile(r"/path/to/datasets|(?<=--root )DATA\b")
        return place.sub(str(folder), f"{command} --dry-run")
    return command


OUT = Path("FOLDER")  # stands for the test's own
CASES = sorted({shortened(command, OUT) for page in PAGES for command in commands(page)})


@pytest.mark.parametrize("command", CASES)
def test_command_runs(command, tmp_path):
    environment = os.environ | {
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        "OUT": str(tmp_path / "output"),
    }
    finished = subprocess.run(
        ["bash", "-c", command.replace(str(OUT), str(tmp_path))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]


def test_the_tour(tmp_path, monkeypatch):
    """Its commands as bash hands them over, in this process: each would take seconds to start."""
    script = (ROOT / "scripts/tour.sh").read_text()
    told = re.sub(r"(?m)^run\(\) .*", r"""run() { printf "%q " "$@"; echo; }""", script)
    told = told.replace('source "$(dirname "$0")/env.sh"', "set -euo pipefail")
    environment = os.environ | {"EPOCHS": "1", "OUT": str(tmp_path)}
    listed = subprocess.run(
        ["bash", "-c", told], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    monkeypatch.chdir(ROOT)
    asked = [shlex.split(line) for line in listed.stdout.splitlines()]
    assert {words[0] for words in asked} == {"fit", "calibrate", "tag", "explain", "demo", "page"}
    for words in asked:
        ended = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
    made = {path.name for path in tmp_path.iterdir()}
    assert made >= {"tagger", "tags.csv", "where.png", "words.png", "why.html", "report.html"}


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
