"""A training step waits for no GPU: tried without one."""

from __future__ import annotations

import re

import pytest
import torch

from tai_dpt.errors import InputError
from tai_dpt.io.history import read_history
from tai_dpt.toolbox import build_optimizer, run_mixin
from tai_dpt.trainers import TaIDPT
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds

TRAINERS = {
    "TaIDPT": ("TRAINER.TAIDPT.NOISE", 0.1),
    "TaIDPT drawn": ("TRAINER.TAIDPT.CLASSES_PER_STEP", 3, "TRAINER.TAIDPT.CSC", True),
    "CoMC": (),
    "DualCoOp": ("INPUT.TRANSFORMS", "('normalize',)"),
    "MLCoOp": ("INPUT.TRANSFORMS", "('normalize',)"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


def trainer_of(world, folder, name, *options, no_train=False):
    argv = worlds.arguments(world, name.split()[0], folder, *options)
    return run(setup_cfg(build_parser().parse_args(argv)), no_train=no_train)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_step_reads_nothing_off_the_device(world, tmp_path, name):
    """On the device "meta" tensors have shapes and no numbers: whatever reads one raises."""
    trainer = trainer_of(world, tmp_path, name, *TRAINERS[name], no_train=True)
    loader, meta = trainer.train_loader_x, torch.device("meta")
    loader.plan.open()
    trainer.device = loader._device = meta
    trainer.model.to(meta)
    (model,) = trainer.get_model_names()
    trainer._optims[model] = build_optimizer(trainer.model, trainer.cfg.OPTIM)
    trainer.num_batches = 10
    for trainer.batch_idx in range(2):
        shown = trainer.forward_backward(next(iter(loader)))
        assert {value.device for value in shown.values()} == {meta}
    with pytest.raises(RuntimeError, match="meta"):
        float(shown["loss"])


def test_losses_that_are_read_late_tell_the_same(world, tmp_path, monkeypatch):
    options = ("DATALOADER.TRAIN_X.BATCH_SIZE", 2, "TRAIN.PRINT_FREQ", 3, "OPTIM.LR", 0.01)
    told, ends = [], []
    loss_parts = TaIDPT.loss_parts

    def infinite_in_the_fifth(trainer, *arguments):
        parts = loss_parts(trainer, *arguments)
        return {**parts, "loss_local": parts["loss_local"] / (trainer._step != 5)}

    for name in ("at once", "late"):
        if name == "late":
            monkeypatch.setattr(run_mixin, "_waits", lambda values: True)
        trainer = trainer_of(world, tmp_path / name, "TaIDPT", *options)
        history = [{**line, "seconds": 0} for line in read_history(tmp_path / name)]
        seconds = [line["seconds"] for line in read_history(tmp_path / name)]
        assert seconds == sorted(seconds)
        log = (tmp_path / name / "log.txt").read_text()
        told.append((history, re.findall(r"loss .* lr \S+", log), trainer.num_batches))
        with monkeypatch.context() as patched, pytest.raises(InputError) as diverged:
            patched.setattr(TaIDPT, "loss_parts", infinite_in_the_fifth)
            trainer_of(world, tmp_path / f"{name} diverged", "TaIDPT", *options)
        ends.append(str(diverged.value))
    assert told[0] == told[1]
    assert len(told[0][0]) == 2 * told[0][2] > 6
    assert "infinite or NaN at step 5 (epoch 1 of 2)" in ends[0]
    assert ends[0] == ends[1]
