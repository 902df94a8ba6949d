"""``tai-dpt --version``: what is in use, for a bug report."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tai_dpt

from places import ROOT
from taggers import run


def test_it_names_what_is_in_use(monkeypatch) -> None:
    monkeypatch.setattr("tai_dpt.toolbox.TOOLBOX", "embedded")
    code, out, _ = run("--version")
    lines = out.splitlines()
    assert code == 0
    assert lines[:2] == [f"tai-dpt {tai_dpt.__version__}", "toolbox: embedded"]
    assert lines[2].startswith("clip: ")
    assert lines[3].startswith(f"torch: torch {metadata.version('torch')} (")


def test_a_toolbox_that_cannot_be_had_is_said() -> None:
    asked = [sys.executable, "-m", "tai_dpt", "--version"]
    environment = {**os.environ, "TAI_DPT_TOOLBOX": "dasl"}
    ended = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    assert "toolbox: unknown TAI_DPT_TOOLBOX value 'dasl'; did you mean 'dassl'?" in ended.stdout


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_a_python_that_makes_no_environment_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/env.sh").write_text((ROOT / "scripts/env.sh").read_text())
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho ensurepip is not available\nexit 1\n")
    broken.chmod(0o755)
    ended = subprocess.run(
        ["bash", tmp_path / "scripts/env.sh"],
        env={**os.environ, "PYTHON3": str(broken)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "ensurepip is not available" in ended.stderr
    assert "apt install python3-venv" in ended.stderr
