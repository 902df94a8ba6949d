"""``kill -9`` at random moments of a training: resumed, it ends bit for bit as if nothing was.

One seed of one trainer here; twenty of each: TAI_DPT_FAULT_SEEDS=20 bash scripts/robustness.sh -k
faults.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import command

from places import ROOT

ASKED = os.environ.get("TAI_DPT_FAULT_SEEDS")
SEEDS = range(int(ASKED or "1"))
TRAINERS = ("TaIDPT", "MLCoOp", "DualCoOp") if ASKED else ("TaIDPT",)
EPOCHS = 6
KILLS = 3


def training(trainer: str, out: Path, features: Path) -> list[object]:
    return [
        *("train", "--trainer", trainer, "--seed", 1, "--root", ROOT / "data"),
        *("--dataset-config-file", ROOT / "configs/datasets/emoji_scenes.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/emoji_scenes.yaml"),
        *("--output-dir", out, "OPTIM.MAX_EPOCH", EPOCHS, "TRAIN.CHECKPOINT_FREQ", 1),
        *("DATASET.CORPUS.MAX_CAPTIONS", 200, "DATASET.CORPUS.TEMPLATES", False),
        *("DATASET.NUM_SHOTS", 2, "FEATURES.DIR", features, "DATALOADER.NUM_WORKERS", 0),
    ]


def what_is_left(out: Path) -> tuple[dict, dict]:
    """Prompts, momentum and schedule; scores."""
    checkpoint = torch.load(out / f"prompt_learner/model.pth.tar-{EPOCHS}", weights_only=True)
    learned = {name: checkpoint[name] for name in ("state_dict", "optimizer", "scheduler")}
    with np.load(out / "scores.npz") as scores:
        return learned, {name: scores[name] for name in scores.files}


def assert_same(one: object, two: object, where: str = "") -> None:
    if isinstance(one, dict):
        assert isinstance(two, dict) and one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert isinstance(two, list | tuple) and len(one) == len(two), where
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    elif isinstance(one, torch.Tensor | np.ndarray):
        assert np.array_equal(np.asarray(one), np.asarray(two)), where
    else:
        assert one == two, where


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_training(trainer: str, seed: int, tmp_path: Path, note) -> None:
    whole, cut, features = tmp_path / "whole", tmp_path / "cut", tmp_path / "features"
    generator = np.random.default_rng(seed)
    for _ in range(KILLS):  # the first ones while the features are made
        command(training(trainer, cut, features), tmp_path, seconds=generator.uniform(1, 6))
    ended = command(training(trainer, cut, features), tmp_path)
    note(ended)
    assert ended.code == 0
    ended = command(training(trainer, whole, tmp_path / "other"), tmp_path)
    note(ended)
    assert ended.code == 0
    for one, two in zip(what_is_left(whole), what_is_left(cut), strict=True):
        assert_same(one, two)
