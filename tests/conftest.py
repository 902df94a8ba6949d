"""Small frozen CLIPs and the reference figures, shared by the tests."""

from __future__ import annotations

import os

# The tests' models are tiny: more threads only wait for each other, above all on a busy machine.
# Before torch is imported, so that it also holds for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile

# One cache for all processes of a run, none of it the user's: what one encoded, the next finds.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="tai-dpt-tests-", ignore_cleanup_errors=True)
    os.environ["TAI_DPT_CACHE"] = _cache.name

import functools
import inspect
import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from reference import GOLDEN, load_golden

settings.register_profile("patient", deadline=None)  # of a busy machine
settings.load_profile("patient")

if "mix_stderr" in inspect.signature(CliRunner).parameters:  # click 8.1: make it 8.2's runner
    CliRunner.__init__ = functools.partialmethod(CliRunner.__init__, mix_stderr=False)
    Result.output = property(lambda result: result.stdout + result.stderr)


# files whose tests take seconds each; their fixtures are made once a process
LONGEST = {
    *("test_docs.py", "test_wheel.py", "test_sweep_scripts.py", "test_notebooks.py"),
    *("test_backbones_full_size.py", "test_distributed.py", "test_benchmarks.py"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with them, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def golden_inputs() -> SimpleNamespace:
    inputs = load_golden("inputs")
    words = json.loads((GOLDEN / "inputs.json").read_text())
    return SimpleNamespace(**vars(inputs), classes=words["classes"], captions=words["captions"])


@pytest.fixture(scope="session")
def golden_backbone(tmp_path_factory):
    """The random CLIP that the reference figures were made with."""
    from safetensors.torch import save_file

    from tai_dpt.backbones import load_backbone

    from clips import golden_state

    path = tmp_path_factory.mktemp("golden") / "clip.safetensors"
    save_file(golden_state(), path)
    return load_backbone(path)
