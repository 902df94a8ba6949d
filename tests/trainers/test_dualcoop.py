"""DualCoOp through the real command line: training, features, checkpoints, partial labels."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch

from tai_dpt.cli.train import main
from tai_dpt.datasets.partial import LabelMask
from tai_dpt.errors import InputError
from tai_dpt.scoring.losses import asymmetric_loss
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds
from reference import load_golden, relative_error

RECIPE = "('random_resized_crop', 'cutout', 'randaugment', 'random_flip')"
SMALL = ("TRAINER.DUALCOOP.N_CTX", 4, "TEST.PREDICTION", "local", "OPTIM.LR", 0.02)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


def trained(world, output, *options, **flags):
    """Run in this process; returns the trainer."""
    argv = worlds.arguments(world, "DualCoOp", output, *SMALL, *options)
    return run(setup_cfg(build_parser().parse_args(argv)), **flags)


def test_it_learns_and_leaves_scores_and_its_mask(world, tmp_path):
    trainer = trained(
        world, tmp_path, "OPTIM.MAX_EPOCH", 30, "TRAIN.PRINT_FREQ", 1,
        "DATASET.PARTIAL.PROPORTION", 0.7,
    )  # fmt: skip
    losses = re.findall(r" loss ([\d.]+) ", (tmp_path / "log.txt").read_text())
    assert float(losses[-1]) < 0.8 * float(losses[0])
    assert trainer.model.log_scale.item() != pytest.approx(3.91, abs=1e-4)
    assert trainer.model.log_sharpness.item() != pytest.approx(3.0, abs=1e-5)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["prediction"] == "local"
    assert results["mAP"] == results["metrics"]["local"]["mAP"]
    mask = LabelMask.load(tmp_path / "partial_mask.npz")
    assert mask.class_names == worlds.CLASSES
    assert results["training"]["known_labels"] == pytest.approx(mask.known.mean())
    labels = trainer.train_images.labels
    np.testing.assert_array_equal(labels != 0, mask.known)
    assert results["training"]["known_positives"] == (labels > 0).sum()


def test_the_image_encoder_builds_no_graph_and_unknown_labels_no_gradient(world, tmp_path):
    trainer = trained(world, tmp_path, no_train=True)
    batch = next(iter(trainer.train_loader_x))
    assert not batch["features"].local.requires_grad
    batch["label"][:] = 0
    trainer.batch_idx, trainer.num_batches = 0, 9
    assert trainer.forward_backward(batch) == {"loss": 0.0}
    assert all(not p.grad.any() for p in trainer.model.parameters())


@pytest.mark.parametrize("number", ["log_scale", "log_sharpness"])
@pytest.mark.parametrize("value", [-200.0, 200.0, float("nan")])
def test_a_scale_that_is_no_number_gives_no_figure(world, tmp_path, number, value):
    trainer = trained(world, tmp_path / "out", no_train=True)
    with torch.no_grad():
        trainer.model.get_parameter(number).fill_(value)
    with pytest.raises(InputError, match=rf"diverged: the learned {number} is .*lower OPTIM.LR"):
        trainer.test()
    assert not (tmp_path / "out/results.json").exists()


@pytest.mark.parametrize("csc", [False, True])
def test_golden_figures_by_the_trainer(world, tmp_path, golden_inputs, csc):
    golden = load_golden(f"dualcoop_csc{csc}_end")
    root = tmp_path / "root"
    shutil.copytree(world, root)
    names = "\n".join(f"- {{name: {name}, synonyms: [{name}]}}" for name in golden_inputs.classes)
    (root / "tiny/classes.yaml").write_text(names)
    for split in ("train", "val", "test"):
        path = root / f"tiny/instances_{split}.json"
        content = json.loads(path.read_text())
        for category, name in zip(content["categories"], golden_inputs.classes, strict=False):
            category["name"] = name
        path.write_text(json.dumps(content))
    trainer = trained(root, tmp_path / "out", "TRAINER.DUALCOOP.CSC", csc, no_train=True)
    public = {"ctx": golden.ctx_positive, "ctx_neg": golden.ctx_negative}
    public["temperature"], public["spatial_T"] = golden.log_scale, golden.log_sharpness
    public["token_prefix"] = torch.zeros(1)  # the public code stores more than is learned
    folder = tmp_path / "public/prompt_learner"
    folder.mkdir(parents=True)
    torch.save({"state_dict": public, "epoch": 50}, folder / "model.pth.tar-50")
    trainer.load_model(str(tmp_path / "public"), epoch=50)
    features = trainer.backbone.encode_images(golden_inputs.images, position_embedding=False)
    scores = trainer.scorer()(features)
    assert relative_error(scores.local, golden.local_scores) < 1e-5
    assert relative_error(scores.global_, golden.global_scores) < 1e-5
    loss = asymmetric_loss(scores.local, golden_inputs.partial_labels)
    trainer.batch_idx, trainer.num_batches = 0, 9
    step = trainer.forward_backward({"features": features, "label": golden_inputs.partial_labels})
    assert step["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert relative_error(trainer.model.ctx_positive.grad, golden.grad_positive) < 1e-4
    assert relative_error(trainer.model.log_scale.grad, golden.grad_log_scale) < 1e-4


def test_an_evaluated_checkpoint_has_the_learned_scale(world, tmp_path):
    first = trained(world, tmp_path / "train", "TRAINER.DUALCOOP.LOG_SCALE", 2.5)
    again = trained(world, tmp_path / "eval", eval_only=True, model_dir=tmp_path / "train")
    assert again.model.log_scale.equal(first.model.log_scale)
    assert again.model.log_scale.item() != pytest.approx(3.91, abs=0.1)
    one, two = (ScoreTable.load(tmp_path / name / "scores.npz") for name in ("train", "eval"))
    np.testing.assert_array_equal(one.local, two.local)


@pytest.mark.parametrize("views", [0, 3])
def test_augmented_runs_repeat_and_resume(world, tmp_path, views):
    options = ("INPUT.TRANSFORMS", RECIPE, "INPUT.VIEWS", views)
    options += ("DATALOADER.TRAIN_X.BATCH_SIZE", 3, "OPTIM.MAX_EPOCH", 3)
    whole = trained(world, tmp_path / "whole", *options)
    (tmp_path / "whole/prompt_learner/model.pth.tar-3").unlink()
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    (tmp_path / "part/prompt_learner/checkpoint").write_text("model.pth.tar-2\n")
    resumed = trained(world, tmp_path / "part", *options)
    assert resumed.start_epoch == 2
    assert resumed.model.ctx_positive.equal(whole.model.ctx_positive)
    plain = trained(world, tmp_path / "plain", *options, "INPUT.TRANSFORMS", "()")
    assert not plain.model.ctx_positive.equal(whole.model.ctx_positive)


def test_each_epoch_sees_one_view_of_each_image_and_all_in_turn(world, tmp_path):
    trainer = trained(world, tmp_path, "INPUT.TRANSFORMS", RECIPE, "INPUT.VIEWS", 3, no_train=True)
    loader = trainer.train_loader_x
    n = len(trainer.train_images)
    seen = []
    for epoch in range(4):
        loader.epoch = epoch
        rows = torch.zeros(n, *loader.store.batch([0]).global_.shape[1:])
        for batch in loader:
            rows[batch["index"]] = batch["features"].global_
        seen.append(rows)
    assert len(loader.store) == 3 * n
    assert seen[3].equal(seen[0])
    stored = torch.stack([loader.store.batch(range(v * n, v * n + n)).global_ for v in range(3)])
    assert torch.stack(seen[:3]).sum(0).allclose(stored.sum(0), atol=1e-5)
    assert not seen[0].equal(seen[1])


def test_fresh_views_are_new_in_every_epoch(world, tmp_path):
    trainer = trained(world, tmp_path, "INPUT.TRANSFORMS", RECIPE, no_train=True)
    loader = trainer.train_loader_x

    def epoch(number: int) -> torch.Tensor:
        loader.epoch = number
        batches = list(loader)
        order = torch.cat([batch["index"] for batch in batches]).argsort()
        return torch.cat([batch["features"].global_ for batch in batches])[order]

    assert epoch(1).equal(epoch(1))
    assert not epoch(1).equal(epoch(0))


def test_two_methods_see_the_same_mask(world, tmp_path):
    partial = ("DATASET.PARTIAL.PROPORTION", 0.5, "DATASET.PARTIAL.SEED", 3)
    dual = trained(world, tmp_path / "a", *partial, no_train=True)
    other = trained(world, tmp_path / "b", *partial, "SEED", 2, no_train=True)
    np.testing.assert_array_equal(dual.train_images.labels, other.train_images.labels)
    assert (dual.train_images.labels == 0).any()
    assert (dual.images["test"].labels != 0).all() and (dual.images["val"].labels != 0).all()


def test_shots_and_held_out_images_leave_the_training_set(world, tmp_path):
    whole = trained(world, tmp_path / "a", no_train=True).train_images
    few = trained(world, tmp_path / "b", "DATASET.NUM_SHOTS", 1, no_train=True).train_images
    assert len(few) < len(whole)
    assert ((few.labels > 0).sum(0) >= 1).all()
    rest = trained(world, tmp_path / "c", "DATASET.HOLDOUT", 0.4, no_train=True).train_images
    assert 0 < len(rest) < len(whole)


BAD = [
    (("DATASET.PARTIAL.PROPORTION", "0"), "more than 0, at most 1"),
    (("DATASET.PARTIAL.PROPORTION", "1.5"), "more than 0, at most 1"),
    (("DATASET.PARTIAL.MASK", "none.npz"), "none.npz is missing"),
    (("DATASET.NUM_SHOTS", "0"), "1 or more images of a class"),
    (("DATASET.HOLDOUT", "1.0"), "at least 0, less than 1"),
    (("INPUT.VIEWS", "-1"), "INPUT.VIEWS is -1"),
    (("INPUT.TRANSFORMS", "('cutuot',)"), "did you mean 'cutout'"),
    (("TRAINER.DUALCOOP.N_CTX", "0"), "at least 1"),
    (("TRAINER.DUALCOOP.CLIP", "1.0"), "at least 0, less than 1"),
    (("TRAINER.DUALCOOP.GAMMA_NEG", "-1"), "at least 0, at most 100"),
    (("DATASET.COCO.TRAIN", "()"), "has no training images"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_one_line(world, tmp_path, capsys, change, message):
    assert main(worlds.arguments(world, "DualCoOp", tmp_path, *SMALL, *change)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("train.py: error: ")
    assert message in error
