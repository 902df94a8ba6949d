"""The same run on stock Dassl and on the embedded toolbox gives the same numbers.

Skipped where Dassl is not importable. To run it, have a checkout of Dassl on the path:
``PYTHONPATH=/path/to/Dassl.pytorch bash scripts/test.sh tests/test_stock_dassl.py``
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

import worlds
from places import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dassl") is None, reason="stock Dassl is not importable"
)
TRAIN = ROOT / "train.py"


def run(world, output, toolbox: str, trainer: str) -> tuple[list[float], dict]:
    """Loss curve and results of one run in a process of its own."""
    options = ("OPTIM.MAX_EPOCH", 5, "OPTIM.LR", 0.02, "TRAIN.PRINT_FREQ", 1)
    warm_up = ("OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", 1)
    command = worlds.arguments(world, trainer, output, *options, *warm_up)
    subprocess.run(
        [sys.executable, str(TRAIN), *command],
        env=os.environ | {"TAI_DPT_TOOLBOX": toolbox},
        check=True,
        capture_output=True,
        timeout=300,
    )
    log = (output / "log.txt").read_text()
    losses = [float(value) for value in re.findall(r" loss ([\d.]+) ", log)]
    return losses, json.loads((output / "results.json").read_text())


@pytest.mark.parametrize("trainer", ["TaIDPT", "ZSCLIP"])
def test_same_numbers_on_both_toolboxes(tmp_path, trainer):
    world = worlds.write_world(tmp_path)
    stock_losses, stock = run(world, tmp_path / "stock", "dassl", trainer)
    embedded_losses, embedded = run(world, tmp_path / "embedded", "embedded", trainer)
    assert (stock["toolbox"], embedded["toolbox"]) == ("dassl", "embedded")
    assert bool(stock_losses) == (trainer == "TaIDPT")
    assert stock_losses == pytest.approx(embedded_losses, rel=1e-4)
    assert stock["mAP"] == pytest.approx(embedded["mAP"], abs=1e-4)
