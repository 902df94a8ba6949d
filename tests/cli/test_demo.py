"""``tai-dpt demo``: what a folder of another demo may be shown for."""

from __future__ import annotations

import pytest

from tai_dpt.io.shipped import config_path, shipped_data
from tai_dpt.scoring.results import RESULTS_FILE, save_results
from tai_dpt.toolbox.checkpoint import save_checkpoint
from tai_dpt.trainers.run import make_cfg
from tai_dpt.trainers.run_record import plain_config

from taggers import run


@pytest.fixture
def of_ten_epochs(tmp_path):
    """A config of the demo as it is by itself, and its folder."""
    folder = tmp_path / "TaIDPT/seed1"
    cfg = make_cfg(
        dataset_config=config_path("datasets", "emoji_scenes.yaml"),
        config=config_path("trainers", "TaIDPT", "emoji_scenes.yaml"),
        root=shipped_data(),
        output_dir=folder,
        seed=1,
        trainer="TaIDPT",
    )
    assert cfg.OPTIM.MAX_EPOCH == 10
    return cfg, folder


def refusal(tmp_path, *more) -> str:
    code, out, err = run("demo", "--out", tmp_path, *more)
    assert (code, out, err.count("\n")) == (2, "", 0)  # before any work
    return err


def test_a_finished_demo_is_not_shown_as_one_of_other_epochs(tmp_path, of_ten_epochs) -> None:
    cfg, folder = of_ten_epochs
    folder.mkdir(parents=True)
    metrics = {kind: {"mAP": 88.6} for kind in ("merged", "global", "local")}
    record = {"trainer": "TaIDPT", "dataset": "CocoFormat", "split": "test", "seed": 1}
    record |= {"images": 500, "metrics": metrics, "config": plain_config(cfg)}
    save_results(folder / RESULTS_FILE, record)
    said = (
        "holds a run with other options (OPTIM.MAX_EPOCH: 10 there, 3 here): choose another --out"
    )
    assert said in refusal(tmp_path, "--epochs", 3)
    assert said in refusal(tmp_path, "--epochs", 3, "--seed", 2, "--seed", 1)


def test_nor_is_an_interrupted_one(tmp_path, of_ten_epochs) -> None:
    cfg, folder = of_ten_epochs
    save_checkpoint({"state_dict": {}, "epoch": 5, "config": cfg}, folder / "prompt_learner")
    assert "OPTIM.MAX_EPOCH: 10 there, 3 here" in refusal(tmp_path, "--epochs", 3)
