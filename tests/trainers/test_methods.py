"""The trainers after the paper, through the real command line, on a tiny world."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from tai_dpt.cli.train import main
from tai_dpt.scoring.rectification import rectify
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds

UNTRAINED = {
    "Concepts": (),
    "Concepts guided": (
        "TRAINER.CONCEPTS.CONTEXT_GUIDED",
        True,
        "DATASET.CORPUS.FILES",
        "['tiny/more.txt']",
    ),
    "SPARC": ("TRAINER.SPARC.PAIRS", "all"),
    "DualPrompt": (),
    "PIAA": (),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = worlds.write_world(tmp_path_factory.mktemp("world"))
    lines = [f"a {one} beside a {two}" for one in worlds.CLASSES for two in worlds.CLASSES]
    (root / "tiny/more.txt").write_text("\n".join(lines))
    return root


def scores(world, folder, trainer, *options) -> ScoreTable:
    assert main(worlds.arguments(world, trainer, folder, *options)) == 0
    return ScoreTable.load(folder / "scores.npz")


@pytest.mark.parametrize("name", UNTRAINED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_without_training_scores_are_left_and_the_same_twice(world, tmp_path, name):
    trainer = name.split()[0]
    first = scores(world, tmp_path / "a", trainer, *UNTRAINED[name])
    second = scores(world, tmp_path / "b", trainer, *UNTRAINED[name])
    for kind in ("merged", "global", "local"):
        assert np.isfinite(first.of(kind)).all()
        np.testing.assert_array_equal(first.of(kind), second.of(kind))
    results = json.loads((tmp_path / "a/results.json").read_text())
    assert results["trainer"] == trainer and results["rectify"] == "none"


@pytest.mark.parametrize("name", ["PIAA", "SPARC"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_label_of_an_image_is_read(world, tmp_path, name):
    pool = ("TRAINER.PIAA.POOL", "train") if name == "PIAA" else ("TRAINER.SPARC.POOL", "train")
    expected = scores(world, tmp_path / "a", name, *pool)
    other = tmp_path / "world"
    shutil.copytree(world, other)
    path = other / "tiny/instances_train.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 1 + annotation["category_id"] % 6
    path.write_text(json.dumps(content))
    found = scores(other, tmp_path / "b", name, *pool)
    np.testing.assert_allclose(found.merged, expected.merged, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_unreadable_image_of_the_pool_is_left_out_where_that_is_asked_for(world, tmp_path):
    other = tmp_path / "world"
    shutil.copytree(world, other)
    next(iter(sorted((other / "tiny/train").iterdir()))).write_bytes(b"no image")
    scores(other, tmp_path / "a", "PIAA", "DATASET.ON_BAD_IMAGE", "skip")


def test_comc_learns_and_a_resumed_run_equals_an_uninterrupted_one(world, tmp_path):
    options = ("OPTIM.MAX_EPOCH", 4, "OPTIM.LR", 0.5)
    whole = scores(world, tmp_path / "whole", "CoMC", *options)
    results = json.loads((tmp_path / "whole/results.json").read_text())
    assert results["trainer"] == "CoMC"
    argv = worlds.arguments(world, "CoMC", tmp_path / "part", *options)
    trainer = run(setup_cfg(build_parser().parse_args(argv)), no_train=True)
    stop = trainer.after_epoch

    class Stop(Exception):
        pass

    def interrupted():
        stop()
        if trainer.epoch == 1:
            raise Stop

    trainer.after_epoch = interrupted
    with pytest.raises(Stop):
        trainer.train()
    again = scores(world, tmp_path / "part", "CoMC", *options)
    np.testing.assert_array_equal(again.merged, whole.merged)


@pytest.mark.parametrize("how", ["centre", "standardise", "softmax"])
@pytest.mark.filterwarnings("ignore:rectifying")
def test_rectified_scores_are_the_rectification_of_the_plain_ones(world, tmp_path, how):
    plain = scores(world, tmp_path / "a", "ZSCLIP")
    rectified = scores(world, tmp_path / "b", "ZSCLIP", "TEST.RECTIFY", how)
    for kind in ("merged", "global", "local"):
        expected = rectify(torch.from_numpy(plain.of(kind)), how).numpy()
        np.testing.assert_allclose(rectified.of(kind), expected, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "b/results.json").read_text())["rectify"] == how


def test_concepts_beside_a_method_are_a_sum(world, tmp_path):
    quick = ("TRAINER.TAIDPT.N_CTX", 4)
    alone = scores(world, tmp_path / "a", "TaIDPT", *quick)
    both = scores(world, tmp_path / "b", "TaIDPT", *quick, "TRAINER.TAIDPT.CONCEPTS", True)
    concepts = scores(world, tmp_path / "c", "Concepts")
    for kind in ("global", "local"):
        expected = alone.of(kind) + concepts.of(kind)
        np.testing.assert_allclose(both.of(kind), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("csc", [False, True])
def test_drawn_classes_train_and_resume_alike(world, tmp_path, csc):
    options = ("TRAINER.TAIDPT.N_CTX", 4, "TRAINER.TAIDPT.CLASSES_PER_STEP", 3)
    options += ("TRAINER.TAIDPT.CSC", csc)
    first = scores(world, tmp_path / "a", "TaIDPT", *options)
    second = scores(world, tmp_path / "b", "TaIDPT", *options)
    np.testing.assert_array_equal(first.merged, second.merged)
    all_of_them = (*options[:2], "TRAINER.TAIDPT.CSC", csc)
    whole = scores(world, tmp_path / "c", "TaIDPT", *all_of_them)
    assert not np.array_equal(first.merged, whole.merged)


def test_contexts_of_classes_that_were_not_drawn_stay_as_they_are(world, tmp_path):
    options = ("TRAINER.TAIDPT.N_CTX", 4, "TRAINER.TAIDPT.CLASSES_PER_STEP", 3)
    argv = worlds.arguments(world, "TaIDPT", tmp_path, *options, "TRAINER.TAIDPT.CSC", True)
    argv += ["OPTIM.WEIGHT_DECAY", "0.1", "OPTIM.MOMENTUM", "0.9"]
    trainer = run(setup_cfg(build_parser().parse_args(argv)), no_train=True)
    trainer.epoch, trainer.num_batches = 0, 10
    batch = next(iter(trainer.train_loader_x))
    for step in range(3):
        trainer.batch_idx = step
        before = trainer.model.ctx_global.detach().clone()
        draw = trainer.draw(batch["label"])
        trainer.forward_backward(batch)
        moved = (trainer.model.ctx_global.detach() != before).flatten(1).any(dim=1)
        assert set(moved.nonzero().flatten().tolist()) == set(draw.classes.tolist())


@pytest.mark.parametrize(
    ("trainer", "options", "message"),
    [
        ("ZSCLIP", ("TEST.RECTIFY", "mean"), "valid: none, centre, standardise, softmax"),
        ("ZSCLIP", ("TRAINER.ZSCLIP.TEMPLATE", "a photo"), "'imagenet' for the mean of 80"),
        ("ZSCLIP", ("TRAINER.ZSCLIP.TEMPLATE", "a {}" + " very" * 100), "longer than the 77"),
        ("Concepts", ("TRAINER.CONCEPTS.SCALE", 0.0), "TRAINER.CONCEPTS.SCALE is 0.0"),
        ("Concepts", ("TRAINER.CONCEPTS.CONTEXT_GUIDED", True), "captions are too few"),
        ("CoMC", ("TRAINER.COMC.NOISE", -1.0), "TRAINER.COMC.NOISE is -1.0; valid: at least 0"),
        ("SPARC", ("TRAINER.SPARC.POOL", "photos"), "valid: train, val, test"),
        ("DualPrompt", ("TRAINER.DUALPROMPT.COMPANIONS", 0), "COMPANIONS is 0; valid: at least 1"),
        ("PIAA", ("TRAINER.PIAA.SETTING", "lvis"), "valid: voc2007, coco2014, nuswide"),
        ("TaIDPT", ("TRAINER.TAIDPT.CLASSES_PER_STEP", 2), "CLASSES_PER_STEP is 2; 0 (automatic)"),
        ("TaIDPT", ("TRAINER.TAIDPT.NOISE", -0.5), "NOISE is -0.5; valid: at least 0"),
    ],
)
def test_bad_options_are_one_line(world, tmp_path, capsys, trainer, options, message):
    assert main(worlds.arguments(world, trainer, tmp_path, *options)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
