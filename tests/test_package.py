"""The names modules go by: installed, from a checkout, CoOp's way, beside Hugging Face's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT


def python(code: str, *, cwd: Path, path: Path | None = None) -> str:
    """What ``code`` prints; ``path`` is put on the import path, as an installed package is."""
    extra = f"import sys; sys.path.append({str(path)!r})\n" if path else ""
    finished = subprocess.run(
        [sys.executable, "-c", extra + code], cwd=cwd, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_coops_names_are_the_same_modules():
    """Whichever name comes first."""
    modules = ("trainers.tai_dpt", "datasets.voc2007", "trainers")
    coops = "".join(f"import {name}\n" for name in modules)
    ours = "".join(f"import tai_dpt.{name}\n" for name in modules)
    same = "".join(f"print({n} is tai_dpt.{n}, {n}.__spec__.name)\n" for n in modules)
    for code in (coops + ours + same, ours + coops + same):
        assert python(code, cwd=ROOT).splitlines() == [f"True tai_dpt.{name}" for name in modules]


def test_a_name_that_is_not_there_is_said_as_ever():
    code = "import trainers\ntry:\n import trainers.nope\nexcept ImportError as e:\n print(e)"
    assert python(code, cwd=ROOT) == "No module named 'trainers.nope'"


@pytest.mark.parametrize("start", ["import train", "import runpy; runpy.run_module('tai_dpt')"])
def test_the_datasets_of_hugging_face_stay_theirs(start, tmp_path):
    (tmp_path / "datasets.py").write_text("whose = 'theirs'\n")
    code = f"sys.argv = ['x', '--help']\ntry:\n {start}\nexcept SystemExit: pass\n"
    code += "import datasets, tai_dpt.datasets; print(datasets.whose, tai_dpt.datasets.__name__)"
    printed = python(code, cwd=ROOT, path=tmp_path)
    assert printed.splitlines()[-1] == "theirs tai_dpt.datasets"
