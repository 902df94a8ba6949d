"""The sweep scripts, as a user calls them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tai_dpt.cli.main import cli

from places import ROOT

SWEEPS = ("table1", "table2", "figure6", "figure7", "beyond", "zero_shot")
WORLD = ROOT / "data" / "emoji_scenes" / "clip.safetensors"


def call(script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", f"scripts/{script}.sh", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("script", "dataset"),
    [
        *((script, dataset) for script in SWEEPS for dataset in ("emoji_scenes", "coco2014")),
        ("table3", "coco2014_novel"),
    ],
)
def test_dry_run(script: str, dataset: str, tmp_path: Path) -> None:
    done = call(script, dataset, "--dry-run", OUT=str(tmp_path / "out"), DATA=str(ROOT / "data"))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out").exists()
    assert "nothing was started" in done.stdout.splitlines()[-1]
    commands = [line.split() for line in done.stdout.splitlines() if " tai_dpt train " in line]
    assert {word for line in commands for word in line if word.startswith("seed")} == set()
    for line in commands:
        flags = dict(zip(line[4:16:2], line[5:16:2], strict=True))
        assert (ROOT / flags["--config-file"]).is_file()
        assert (ROOT / flags["--dataset-config-file"]).name == f"{dataset}.yaml"
        assert Path(flags["--output-dir"]).name == f"seed{flags['--seed']}"


@pytest.mark.parametrize(
    "config", ["vit_b16", "vit_l14_336", "laion_vit_b16", "siglip_b16", "rn101"]
)
def test_table1_of_another_backbone(config: str, tmp_path: Path) -> None:
    environment = {"OUT": str(tmp_path), "DATA": str(ROOT), "TEXT_CONFIG": config, "SEEDS": "1"}
    done = call("table1", "voc2007", "--dry-run", **environment)
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if " tai_dpt train " in line]
    for line, trainer in zip(commands, ("ZSCLIP", "TaIDPT"), strict=True):
        assert f"trainers/{trainer}/{config}.yaml" in line
        assert f"{tmp_path}/voc2007/{trainer}/{config}/default/seed1" in line


def test_slurm_calls_the_script(tmp_path: Path) -> None:
    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
    array |= {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_SUBMIT_DIR": str(ROOT), "OUT": str(tmp_path)}
    listed = [
        call("slurm", "table1", "emoji_scenes", "--dry-run", **array, SLURM_ARRAY_TASK_ID=task)
        for task in ("1", "2")
    ]
    assert [done.stdout.splitlines()[-1] for done in listed] == [
        "2 runs: run 2; nothing was started"
    ] * 2
    missing = call("slurm")
    assert missing.returncode != 0 and "usage: sbatch scripts/slurm.sh" in missing.stderr


def test_bad_input_is_one_line() -> None:
    done = call("table1", "voc20007", DATA=".")
    assert done.returncode == 2
    assert done.stderr.startswith("tai-dpt: error: unknown dataset 'voc20007'")
    assert len(done.stderr.splitlines()) == 1
    done = call("table1", "coco2014")
    assert "say where coco2014 lies: DATA=/path/to/datasets" in done.stderr


@pytest.mark.skipif(not WORLD.is_file(), reason="the shipped CLIP is not there")
def test_table1_on_the_shipped_data(tmp_path: Path) -> None:
    """One seed and one epoch: the real trainers, then the table."""
    small = ["OPTIM.MAX_EPOCH", "1", "DATASET.COCO.VAL", "()", "DATALOADER.NUM_WORKERS", "0"]
    environment = {"OUT": str(tmp_path / "out")}
    done = call("table1", "emoji_scenes", *small, SEEDS="1", **environment)
    assert done.returncode == 0, done.stderr
    table = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines()[-4:])
    assert list(table) == ["ZSCLIP", "ZSCLIP + DPT", "TaI", "TaI-DPT"]
    assert float(table["TaI-DPT"]) > float(table["ZSCLIP"])
    again = call("table1", "emoji_scenes", *small, SEEDS="1", **environment)
    assert again.stderr.count("finished before") == 2
    assert again.stdout == done.stdout
    rows = ("--method", "ZSCLIP", "--method", "ZSCLIP + DPT")  # these are whole in one epoch
    arguments = ("table1", "emoji_scenes", *small, "--seeds", "1", "--out", tmp_path / "out")
    held = CliRunner().invoke(cli, ["reproduce", *map(str, arguments), *rows])
    assert held.exit_code == 0, held.output
    assert "2 of 2 within 1.0 mAP" in held.stdout
    assert held.stdout.count("+0.0") == 2
