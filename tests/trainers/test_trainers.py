"""The trainers through the real command line, on a tiny world."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch

from tai_dpt.backbones.text import TextEncoder
from tai_dpt.cli.train import main
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.scoring.scores import Scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.run import build_parser, run, setup_cfg
from tai_dpt.trainers.tai_dpt import TaIDPT

import worlds

TRAINERS = ("ZSCLIP", "TaIDPT")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


def trained(world, output, *options, trainer="TaIDPT", **flags):
    """Run in this process; returns the trainer."""
    argv = worlds.arguments(world, trainer, output, "TRAINER.TAIDPT.N_CTX", 4, *options)
    return run(setup_cfg(build_parser().parse_args(argv)), **flags)


def losses(output) -> list[float]:
    return [float(v) for v in re.findall(r" loss ([\d.]+) ", (output / "log.txt").read_text())]


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_leaves_scores_and_results(world, tmp_path, name, capsys):
    assert name in TRAINER_REGISTRY.registered_names()
    assert main(worlds.arguments(world, name, tmp_path)) == 0
    table = ScoreTable.load(tmp_path / "scores.npz")
    assert table.class_names == worlds.CLASSES
    assert table.ids == tuple(map(str, range(8)))
    assert table.labels[1].tolist() == [-1, 1, 1, -1, -1, -1]
    np.testing.assert_allclose(table.merged, (table.global_ + table.local) / 2, atol=1e-5)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["trainer"] == name
    assert results["config"]["TRAINER"]["NAME"] == name
    assert set(results["metrics"]) == {"merged", "global", "local"}
    printed = re.search(r"\* mAP: ([\.\deE+-]+)%", (tmp_path / "log.txt").read_text())
    assert float(printed[1]) == pytest.approx(results["mAP"], abs=0.005)
    assert "=> result" in capsys.readouterr().out


def test_same_seed_same_numbers(world, tmp_path):
    first = trained(world, tmp_path / "a")
    second = trained(world, tmp_path / "b")
    assert first.model.ctx_local.equal(second.model.ctx_local)
    third = trained(world, tmp_path / "c", "SEED", 2)
    assert not first.model.ctx_local.equal(third.model.ctx_local)


def test_training_lowers_the_loss(world, tmp_path):
    trained(world, tmp_path, "OPTIM.MAX_EPOCH", 20, "OPTIM.LR", 0.05, "TRAIN.PRINT_FREQ", 1)
    seen = losses(tmp_path)
    assert seen[-1] < 0.8 * seen[0]


def test_resumed_equals_uninterrupted(world, tmp_path):
    options = ("OPTIM.LR", 0.02, "DATALOADER.TRAIN_X.BATCH_SIZE", 4, "OPTIM.LR_SCHEDULER", "cosine")
    whole = trained(world, tmp_path / "whole", *options, "OPTIM.MAX_EPOCH", 4)
    for epoch in (3, 4):  # as if stopped after the second epoch
        (tmp_path / "whole/prompt_learner" / f"model.pth.tar-{epoch}").unlink()
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    (tmp_path / "part/prompt_learner/checkpoint").write_text("model.pth.tar-2\n")
    resumed = trained(world, tmp_path / "part", *options, "OPTIM.MAX_EPOCH", 4)
    assert resumed.start_epoch == 2
    assert resumed.model.ctx_global.equal(whole.model.ctx_global)


def test_evaluating_a_checkpoint_gives_the_same_scores(world, tmp_path):
    trained(world, tmp_path / "train")
    checkpoint = tmp_path / "train/prompt_learner/model.pth.tar-2"
    assert "state_dict" in torch.load(checkpoint, weights_only=True)
    trained(world, tmp_path / "eval", eval_only=True, model_dir=tmp_path / "train")
    one, two = (ScoreTable.load(tmp_path / name / "scores.npz") for name in ("train", "eval"))
    np.testing.assert_array_equal(one.merged, two.merged)


@pytest.mark.parametrize("cache", ["disk", "off"])
def test_caching_changes_no_number(world, tmp_path, cache):
    memory = trained(world, tmp_path / "memory")
    options = ("FEATURES.CACHE", cache, "FEATURES.DIR", tmp_path / "cache")
    other = trained(world, tmp_path / cache, *options)
    torch.testing.assert_close(other.model.ctx_local, memory.model.ctx_local)


def test_captions_are_encoded_before_the_first_epoch_is_timed(world, tmp_path, monkeypatch):
    calls = []
    encode, begin = TextEncoder.encode_packed, TaIDPT.before_epoch
    monkeypatch.setattr(
        TextEncoder, "encode_packed", lambda *a, **k: (calls.append("encode"), encode(*a, **k))[1]
    )
    monkeypatch.setattr(TaIDPT, "before_epoch", lambda self: (calls.append("epoch"), begin(self)))
    trained(world, tmp_path, "OPTIM.MAX_EPOCH", 2)
    assert calls[0] == "encode"
    assert calls[-2:] == ["epoch", "epoch"]


def test_the_evaluator_is_ours_and_dassls_is_refused(world, tmp_path, capsys):
    argv = worlds.arguments(world, "ZSCLIP", tmp_path)
    argv = [word for word in argv if word not in ("TEST.EVALUATOR", "MultiLabelEvaluator")]
    assert main(argv) == 0
    assert main([*argv, "TEST.EVALUATOR", "Classification"]) == 2
    assert "MultiLabelEvaluator" in capsys.readouterr().err


def test_prediction_decides_the_printed_map(world, tmp_path):
    trainer = trained(world, tmp_path, "TEST.PREDICTION", "global")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["mAP"] == trainer.evaluator.results["global"].mAP


def test_context_from_words(world, tmp_path):
    trainer = trained(world, tmp_path, "TRAINER.TAIDPT.CTX_INIT", "a photo of a", no_train=True)
    ids = trainer.backbone.tokenize(["a photo of a"])[0][1:-1]
    torch.testing.assert_close(
        trainer.model.ctx_global.data, trainer.backbone.text.token_table[ids]
    )


BAD = [
    (["--trainer", "TaIDTP"], "did you mean 'TaIDPT'"),
    (["DATASET.NAME", "CocoFromat"], "did you mean 'CocoFormat'"),
    (["--backbone", "RN5"], "RN50"),
    (["TRAINER.TAIDPT.CLASS_TOKEN_POSITION", "centre"], "valid: end, middle, front"),
    (["TRAINER.TAIDPT.N_CTX", "0"], "at least 1"),
    (["TRAINER.TAIDPT.PREC", "fp8"], "valid: auto, fp32, bf16, fp16"),
    (["TEST.PREDICTION", "both"], "valid: merged, global, local"),
    (["TEST.FINAL_MODEL", "best"], "last_step"),
    (["FEATURES.CACHE", "ram"], "memory"),
    (["DATASET.ON_BAD_IMAGE", "ignore"], "valid: error, skip"),
    (["INPUT.TRANSFORMS_TEST", "('crop',)"], "center_crop"),
    (["DATASET.CORPUS.FILES", "('tiny/none.json',)"], "none.json"),
    (["DATASET.VOCABULARY", "tiny/none.yaml"], "none.yaml"),
    (["TRAINER.TAIDPT.N_CTXS", "4"], "N_CTX"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=lambda v: v[1] if len(v) == 2 else None)
def test_bad_input_is_one_line(world, tmp_path, capsys, change, message):
    argv = worlds.arguments(world, "TaIDPT", tmp_path)
    first_option = argv.index("TEST.EVALUATOR")
    if change[0].startswith("--"):
        argv[first_option:first_option] = change
    else:
        argv += change
    assert main(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("train.py: error: ")
    assert message in error


def test_another_class_list_is_refused(world, tmp_path, capsys):
    trained(world, tmp_path / "train")
    other = tmp_path / "root"
    shutil.copytree(world, other)
    classes = (other / "tiny/classes.yaml").read_text()
    (other / "tiny/classes.yaml").write_text(classes.replace("name: tv", "name: television"))
    argv = worlds.arguments(other, "TaIDPT", tmp_path / "eval", "TRAINER.TAIDPT.N_CTX", 4)
    argv[0:0] = ["--eval-only", "--model-dir", str(tmp_path / "train")]
    assert main(argv) == 2
    assert "only here: television" in capsys.readouterr().err


def test_an_unreadable_image_is_named_or_skipped(world, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(world, root)
    broken = root / "tiny/test/000003.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    assert main(worlds.arguments(root, "ZSCLIP", tmp_path / "out")) == 2
    assert "000003.png" in capsys.readouterr().err
    assert not (tmp_path / "out/results.json").exists()
    with pytest.warns(UserWarning, match=r"1 images are skipped: .*000003\.png"):
        code = main(
            worlds.arguments(root, "ZSCLIP", tmp_path / "out", "DATASET.ON_BAD_IMAGE", "skip")
        )
    assert code == 0
    assert json.loads((tmp_path / "out/results.json").read_text())["images_skipped"] == 1
    assert "3" not in ScoreTable.load(tmp_path / "out/scores.npz").ids


def test_a_diverged_model_gets_no_figure(world, tmp_path, capsys, monkeypatch):
    def diverged(self):
        learned = torch.full((6, self.backbone.embed_dim), torch.nan)
        return lambda features: score(features, learned, learned, scale=4, sharpness=4)

    monkeypatch.setattr(TaIDPT, "scorer", diverged)
    assert main(worlds.arguments(world, "TaIDPT", tmp_path)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "48 scores are not finite, the first is nan, of image '0', class 'dog'" in error
    assert not (tmp_path / "scores.npz").exists()
    assert not (tmp_path / "results.json").exists()


def test_what_cf1_leaves_out_is_said(world, tmp_path, capsys):
    trainer = trained(world, tmp_path, "OPTIM.MAX_EPOCH", 1)
    trainer.evaluator.reset()
    labels = torch.tensor([[1, 1, -1, -1, -1, -1], [-1, 1, 1, -1, -1, -1]])
    perfect = labels.float()
    trainer.evaluator.process(Scores(perfect, perfect), labels)
    trainer.evaluator.threshold = 0.0
    capsys.readouterr()
    with pytest.warns(UserWarning, match="3 of 6 classes .* left out of mAP and of CF1's recall"):
        metrics = trainer.evaluator.evaluate()
    assert (metrics["OF1"], metrics["CF1"]) == (100, 100)
    assert "* precision in CF1 leaves out 3 classes never named" in capsys.readouterr().out


def test_an_output_folder_that_cannot_be_written(world, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(worlds.arguments(world, "ZSCLIP", tmp_path / "file/run")) == 2
    assert "file" in capsys.readouterr().err
