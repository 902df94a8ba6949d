"""``kill -9`` at random moments, and files that can grow no more: the same command goes on.

What comes out in the end is bit for bit what it would have been. One seed here; of more:
``bash scripts/robustness.sh --faults 20``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import command

import worlds

ASKED = os.environ.get("TAI_DPT_FAULT_SEEDS")
SEEDS = range(int(ASKED or 1))
EPOCHS = 4
KILLS = 2
KINDS = ["TaIDPT", "DualCoOp", "fit"]
if ASKED:
    KINDS += ["MLCoOp", "CoMC", "TaIDPTEnsemble", "ZSCLIP", "Concepts", "SPARC", "PIAA"]
    KINDS += ["DualPrompt"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.write_world(tmp_path_factory.mktemp("world"), images=24)


def training(world: Path, trainer: str, out: Path) -> list[object]:
    small = [(f"TRAINER.{name}.N_CTX", 2) for name in ("TAIDPT", "DUALCOOP", "MLCOOP")]
    return [
        *("train", *worlds.arguments(world, trainer, out), "OPTIM.MAX_EPOCH", EPOCHS),
        *("FEATURES.CACHE", "disk", "FEATURES.DIR", f"{out}-features"),
        *(part for pair in small for part in pair),
    ]


def fusing(world: Path, out: Path) -> list[object]:
    options = [*worlds.arguments(world, "TaIDPTEnsemble", out), "OPTIM.MAX_EPOCH", 1]
    for role, trainer in (("TEXT", "TaIDPT"), ("IMAGE", "DualCoOp")):
        config = world / f"{role}.yaml"
        config.write_text(f"TRAINER: {{{trainer.upper()}: {{N_CTX: 2}}}}\nOPTIM: {{MAX_EPOCH: 2}}")
        options += [f"TRAINER.TAIDPTENSEMBLE.{role}_CONFIG", config]
    return ["train", *options]


def what_is_left(out: Path) -> dict[str, object]:
    """Prompts, momentum and schedule; scores; all that a tagger consists of."""
    found: dict[str, object] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: arrays[key] for key in arrays.files}
        elif path.name == f"model.pth.tar-{EPOCHS}":
            checkpoint = torch.load(path, weights_only=True)
            found[name] = [checkpoint[key] for key in ("state_dict", "optimizer", "scheduler")]
        elif path.suffix in (".safetensors", ".csv") or path.name == "tagger.json":
            found[name] = path.read_bytes()
    assert found
    return found


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


def asked(what: str, world: Path, out: Path) -> list[object]:
    if what == "TaIDPTEnsemble":
        return fusing(world, out)
    if what == "fit":
        (world / "classes.txt").write_text("dog\ncar\ntraffic light\n")
        (world / "captions.txt").write_text("a dog and a car\na traffic light\na dog\n" * 40)
        learning = ("--captions", world / "captions.txt", "--epochs", 2)
        small = ("TRAINER.TAIDPT.N_CTX", 2, "FEATURES.CACHE", "disk")
        return [
            *("fit", "--classes", world / "classes.txt", *learning, "--out", out),
            *("--backbone", world / "tiny/clip.safetensors", "--overwrite"),
            *(*small, "FEATURES.DIR", f"{out}-features"),
        ]
    return training(world, what, out)


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_moment(what: str, seed: int, world: Path, tmp_path: Path, note) -> None:
    # one folder for both, as results and masks name it
    whole, out = tmp_path / "whole", tmp_path / "out"
    start = time.monotonic()
    ended = command(asked(what, world, out), tmp_path)
    took = time.monotonic() - start
    note(ended)
    assert ended.code == 0
    out.rename(whole)
    if Path(f"{out}-features").exists():
        Path(f"{out}-features").rename(tmp_path / "aside")
    generator = np.random.default_rng(seed)
    for _ in range(KILLS):
        command(asked(what, world, out), tmp_path, seconds=generator.uniform(0.05, 1) * took)
    ended = command(asked(what, world, out), tmp_path)
    note(ended)
    assert ended.code == 0
    assert_same(what_is_left(whole), what_is_left(out))


FILLS = [("TaIDPT", 2_000), ("TaIDPT", 9_000), ("DualCoOp", 12_000), ("fit", 2_000)]


@pytest.mark.parametrize(("what", "room"), FILLS)
def test_no_room_in_the_midst(what: str, room: int, world: Path, tmp_path: Path, note) -> None:
    out = tmp_path / "out"
    ended = command(asked(what, world, out), tmp_path, room=room)
    note(ended)
    assert not ended.fault and ended.code in (1, 2)
    assert "File too large" in ended.err and str(tmp_path) in ended.err
    assert not list(tmp_path.rglob("*.tmp"))
    ended = command(asked(what, world, out), tmp_path)
    note(ended)
    assert ended.code == 0
