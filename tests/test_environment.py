"""``scripts/env.sh``: an environment that is there, made by another Python, or half made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell script")

# stands for a Python: it makes an environment, whose pip writes down what it was asked for
PYTHON = """#!/bin/sh
case "$1 $2" in
"-m venv") rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo made {version} >> log ;;
"-m pip")
    [ ! -e "$(dirname "$0")/no-pip" ] || exit 1
    [ "$3" = install ] || exit 0
    echo installed >> log
    mkdir -p .venv/lib/python3/site-packages
    echo "$PWD/build" > .venv/lib/python3/site-packages/__editable__.it.pth ;;
"-c "*) exec {python} -c "import sys; sys.version_info = ({version}, 0); $2" ;;
esac
"""


def python(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PYTHON.format(python=sys.executable, version=version))
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path):
    """A checkout with its environment, made by Python 3.12."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/env.sh", folder / "scripts")
    for name in ("tai_dpt", "trainers", "datasets", "configs", "data"):
        (folder / name).mkdir()
    for name in ("setup.py", "pyproject.toml"):
        (folder / name).write_text("")
    python(tmp_path / "bin/python3", "3, 12")
    assert environment(folder) == (0, ["made 3, 12", "installed"], "")
    return folder


def environment(folder: Path, **variables: object) -> tuple[int, list[str], str]:
    """Exit code, what was done, and the last line of what was said, but for what always is."""
    (folder / "log").unlink(missing_ok=True)
    path = f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", folder / "scripts/env.sh"],
        env={"PATH": path, **{key: str(value) for key, value in variables.items()}},
        capture_output=True,
        text=True,
    )
    done = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    said = [line for line in ended.stderr.splitlines() if not line.startswith("Installing")]
    return ended.returncode, done, said[-1] if said else ""


ANEW = (0, ["made 3, 12", "installed"], "Making .venv anew …")


def test_what_is_whole_stays(home) -> None:
    assert environment(home) == (0, [], "")
    assert environment(home, PYTHON3=home.parent / "bin/python3") == (0, [], "")


def test_half_made_or_of_a_python_that_is_gone(home) -> None:
    for spoil in (
        lambda: (home / ".venv/bin/no-pip").write_text(""),
        lambda: shutil.rmtree(home / ".venv/bin"),
        lambda: ((home / ".venv/bin/python").unlink(), (home / ".venv/bin/python").symlink_to("x")),
    ):
        spoil()
        assert environment(home) == ANEW
    for stamp in home.glob(".venv/installed-*"):  # it was ended before it was installed
        stamp.unlink()
    assert environment(home) == (0, ["installed"], "")


def test_made_by_a_python_that_is_too_old(home) -> None:
    python(home / ".venv/bin/python", "3, 9")
    assert environment(home) == ANEW


def test_another_python_is_asked_for(home) -> None:
    other = python(home.parent / "other/python", "3, 13")
    assert environment(home, PYTHON3=other)[1] == ["made 3, 13", "installed"]
    assert environment(home) == (0, [], "")


def test_there_is_no_python_that_is_new_enough(home) -> None:
    shutil.rmtree(home / ".venv")
    python(home.parent / "bin/python3", "3, 9")
    code, _, said = environment(home)
    assert code == 1
    assert "python3 is Python 3.9, and 3.10 or newer is needed: name one, e.g. PYTHON3=" in said
    assert not (home / ".venv").exists()


def test_a_checkout_that_was_moved_is_installed_where_it_is(home) -> None:
    moved = home.rename(home.parent / "moved")
    assert environment(moved) == (0, ["installed"], "")
    assert environment(moved) == (0, [], "")
