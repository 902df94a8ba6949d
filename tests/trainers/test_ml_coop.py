"""Multi-label CoOp: TaI-DPT's prompts, learned from a few images."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from slow_reference import ranking_loss as plain_ranking_loss

from tai_dpt.scoring.results import ScoreTable
from tai_dpt.scoring.scores import Scores
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


def trained(world, output, *options, **flags):
    argv = worlds.arguments(world, "MLCoOp", output, "TRAINER.MLCOOP.N_CTX", 4, *options)
    return run(setup_cfg(build_parser().parse_args(argv)), **flags)


@pytest.mark.parametrize("local", [True, False])
def test_it_learns_from_few_images(world, tmp_path, local):
    options = ("TRAINER.MLCOOP.LOCAL", local, "DATASET.NUM_SHOTS", 1, "OPTIM.MAX_EPOCH", 15)
    trainer = trained(world, tmp_path, *options, "OPTIM.LR", 0.05, "TRAIN.PRINT_FREQ", 1)
    losses = re.findall(r" loss ([\d.]+) ", (tmp_path / "log.txt").read_text())
    assert float(losses[-1]) < 0.9 * float(losses[0])
    assert hasattr(trainer.model, "ctx_local") == local
    table = ScoreTable.load(tmp_path / "scores.npz")
    if not local:
        np.testing.assert_allclose(table.merged, table.global_, atol=1e-6)


def test_the_loss_is_over_known_labels(world, tmp_path):
    trainer = trained(world, tmp_path, no_train=True)
    torch.manual_seed(0)
    scores = (0.3 * torch.randn(3, 5)).requires_grad_()
    labels = torch.tensor([[1, -1, 0, 0, -1], [0, 0, 0, 1, 1], [-1, 0, -1, -1, 0]])
    loss = trainer.loss_parts(Scores(scores, scores), labels, None)["loss_global"]
    loss.backward()
    known = [
        (row[truth != 0], truth[truth != 0]) for row, truth in zip(scores, labels, strict=True)
    ]
    reference = sum(plain_ranking_loss(s[None], t[None], 1.0) for s, t in known) / 3
    torch.testing.assert_close(loss, reference)
    assert not scores.grad[labels == 0].any()
    assert scores.grad.isfinite().all() and scores.grad.any()


def test_coops_checkpoint_is_the_global_prompt(world, tmp_path):
    trainer = trained(world, tmp_path / "a", "TRAINER.MLCOOP.LOCAL", False, no_train=True)
    context = torch.randn_like(trainer.model.ctx_global)
    folder = tmp_path / "public/prompt_learner"
    folder.mkdir(parents=True)
    state = {"ctx": context, "token_prefix": torch.zeros(1), "token_suffix": torch.zeros(1)}
    torch.save({"state_dict": state, "epoch": 1}, folder / "model.pth.tar-1")
    trainer.load_model(str(tmp_path / "public"), epoch=1)
    assert trainer.model.ctx_global.equal(context)


def test_the_class_token_position_is_checked(world, tmp_path):
    with pytest.raises(ValueError, match="valid: end, middle, front"):
        trained(world, tmp_path, "TRAINER.MLCOOP.CLASS_TOKEN_POSITION", "centre", no_train=True)
