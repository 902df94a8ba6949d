"""TaIDPTEnsemble: from finished runs, from configs, with λ given or chosen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tai_dpt.cli.train import main
from tai_dpt.errors import InputError
from tai_dpt.scoring.fusion import fuse
from tai_dpt.scoring.rectification import rectify
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds

SMALL = ("TRAINER.TAIDPT.N_CTX", 4, "TRAINER.DUALCOOP.N_CTX", 4)
NODE = "TRAINER.TAIDPTENSEMBLE"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"), images=24)


def started(world, trainer, output, *options, **flags):
    argv = worlds.arguments(world, trainer, output, *SMALL, *options)
    return run(setup_cfg(build_parser().parse_args(argv)), **flags)


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory) -> Path:
    """A finished run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    started(world, "TaIDPT", folder / "text")
    held = ("DATASET.HOLDOUT", 0.3)
    started(world, "DualCoOp", folder / "image", "TEST.PREDICTION", "local", *held)
    return folder


def of_runs(runs, *options):
    return (f"{NODE}.TEXT_RUN", runs / "text", f"{NODE}.IMAGE_RUN", runs / "image", *options)


def test_finished_runs_are_fused(world, runs, tmp_path):
    trainer = started(world, "TaIDPTEnsemble", tmp_path, *of_runs(runs, f"{NODE}.WEIGHT", 0.7))
    text, image, fused = (
        ScoreTable.load(folder / "scores.npz")
        for folder in (runs / "text", runs / "image", tmp_path)
    )
    np.testing.assert_allclose(fused.merged, fuse(text.merged, image.local, weight=0.7), atol=1e-6)
    results = json.loads((tmp_path / "results.json").read_text())
    fusion = results["fusion"]
    assert fusion["weight"] == 0.7 and fusion["weight_source"] == "config"
    assert fusion["image"]["prediction"] == "local"
    for role in ("text", "image"):
        component = json.loads((runs / role / "results.json").read_text())
        assert fusion[role]["mAP"] == pytest.approx(component["mAP"])
    assert results["mAP"] == trainer.evaluator.results["merged"].mAP
    assert results["trainer"] == "TaIDPTEnsemble"
    log = (tmp_path / "log.txt").read_text()
    assert "=> result" in log and f"* mAP: {results['mAP']:.2f}%" in log


@pytest.mark.filterwarnings("ignore:rectifying")
def test_each_source_is_rectified_by_itself(world, runs, tmp_path):
    rules = (f"{NODE}.TEXT_RECTIFY", "standardise", f"{NODE}.IMAGE_RECTIFY", "softmax")
    weigh = (f"{NODE}.WEIGHT", "auto", "DATASET.HOLDOUT", 0.3)
    started(world, "TaIDPTEnsemble", tmp_path, *of_runs(runs, *rules, *weigh))
    text, image = (ScoreTable.load(runs / role / "scores.npz") for role in ("text", "image"))
    results = json.loads((tmp_path / "results.json").read_text())
    sharpness = json.loads((runs / "image/results.json").read_text())["softmax_sharpness"]
    expected = fuse(
        rectify(torch.from_numpy(text.merged), "standardise").numpy(),
        rectify(torch.from_numpy(image.local), "softmax", sharpness=sharpness).numpy(),
        weight=results["fusion"]["weight"],
    )
    fused = ScoreTable.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(fused.merged, expected, atol=1e-5)
    assert [results["fusion"][role]["rectify"] for role in ("text", "image")] == [
        "standardise",
        "softmax",
    ]


def test_the_published_weight_is_the_default(world, runs, tmp_path):
    started(world, "TaIDPTEnsemble", tmp_path, *of_runs(runs))
    fusion = json.loads((tmp_path / "results.json").read_text())["fusion"]
    assert (fusion["weight"], fusion["weight_source"]) == (0.9, "config")


def test_another_split_is_evaluated_from_the_models(world, runs, tmp_path):
    started(world, "TaIDPTEnsemble", tmp_path, *of_runs(runs, "TEST.SPLIT", "val"))
    assert len(ScoreTable.load(tmp_path / "scores.npz").ids) == 3
    assert json.loads((tmp_path / "text-val/results.json").read_text())["split"] == "val"


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("DATASET", "VOCABULARY", 5, "DATASET.VOCABULARY takes a value of type str, not 5"),
        ("OPTIM", "LR", [1], "OPTIM.LR takes a value of type float"),
        ("DATALOADER", "NUM_WORKERS", -1, "DATALOADER.NUM_WORKERS is -1; valid: at least 0"),
    ],
)
def test_a_run_whose_config_makes_no_sense_is_refused_and_nothing_left(
    world, runs, tmp_path, capsys, section, key, value, message
):
    shutil.copytree(runs / "text", tmp_path / "text")
    path = tmp_path / "text/results.json"
    results = json.loads(path.read_text())
    results["config"][section][key] = value
    path.write_text(json.dumps(results))
    options = (f"{NODE}.TEXT_RUN", tmp_path / "text", f"{NODE}.IMAGE_RUN", runs / "image")
    out = tmp_path / "out"
    argv = worlds.arguments(world, "TaIDPTEnsemble", out, *options, "TEST.SPLIT", "val")
    assert main(argv) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_lambda_is_chosen_on_held_out_training_images(world, runs, tmp_path):
    options = of_runs(runs, f"{NODE}.WEIGHT", "auto", "DATASET.HOLDOUT", 0.3)
    trainer = started(world, "TaIDPTEnsemble", tmp_path, *options)
    fusion = json.loads((tmp_path / "results.json").read_text())["fusion"]
    held = 24 - json.loads((runs / "image/results.json").read_text())["training"]["images"]
    assert fusion["weight_source"] == f"known labels of {held} held-out training images"
    # test labels have no say: the same λ where they are all turned round
    root = tmp_path / "root"
    shutil.copytree(world, root)
    path = root / "tiny/instances_test.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = annotation["category_id"] % 6 + 1
    path.write_text(json.dumps(content))
    other = tmp_path / "runs"
    started(root, "TaIDPT", other / "text")
    held_out = ("TEST.PREDICTION", "local", "DATASET.HOLDOUT", 0.3)
    started(root, "DualCoOp", other / "image", *held_out)
    options = of_runs(other, f"{NODE}.WEIGHT", "auto", "DATASET.HOLDOUT", 0.3)
    again = started(root, "TaIDPTEnsemble", tmp_path / "again", *options)
    assert again._fusion["weight"] == trainer._fusion["weight"]
    assert again._fusion["text"]["mAP"] != trainer._fusion["text"]["mAP"]


def test_an_evaluation_does_not_hide_what_its_model_was_trained_on(world, runs, tmp_path) -> None:
    copied = shutil.copytree(runs, tmp_path / "runs")
    record = json.loads((copied / "image/results.json").read_text())
    (copied / "image/results.json").write_text(
        json.dumps({**record, "trained_with": {"DATASET.HOLDOUT": 0.0}})
    )
    options = of_runs(copied, f"{NODE}.WEIGHT", "auto", "DATASET.HOLDOUT", 0.3)
    with pytest.raises(InputError, match=r"trained with other labels \(DATASET.HOLDOUT: 0.0 there"):
        started(world, "TaIDPTEnsemble", tmp_path / "out", *options)


def configs(folder: Path) -> tuple:
    """Yaml files for both components, and what names them."""
    prediction = {"TEST": {"PREDICTION": "local"}, "INPUT": {"TRANSFORMS": ["random_flip"]}}
    (folder / "text.yaml").write_text(json.dumps({"OPTIM": {"LR": 0.01}}))
    (folder / "image.yaml").write_text(json.dumps({"OPTIM": {"LR": 1}, **prediction}))
    return (
        *(f"{NODE}.TEXT_CONFIG", folder / "text.yaml"),
        *(f"{NODE}.IMAGE_CONFIG", folder / "image.yaml"),
        *(f"{NODE}.IMAGE_OPTS", "['OPTIM.LR', 0.02, 'INPUT.VIEWS', 2]"),
    )


def test_configs_are_trained_first_and_only_once(world, tmp_path, capsys):
    options = configs(tmp_path)
    started(world, "TaIDPTEnsemble", tmp_path / "out", *options)
    image = json.loads((tmp_path / "out/image/results.json").read_text())
    assert image["trainer"] == "DualCoOp"
    assert image["config"]["OPTIM"]["LR"] == 0.02
    assert image["config"]["INPUT"]["VIEWS"] == 2
    text = tmp_path / "out/text/results.json"
    before, first = text.stat().st_mtime_ns, ScoreTable.load(tmp_path / "out/scores.npz")
    # as if interrupted in the image run: the text run is kept, the image run goes on
    (tmp_path / "out/image/results.json").unlink()
    (tmp_path / "out/image/scores.npz").unlink()
    (tmp_path / "out/image/prompt_learner/model.pth.tar-2").unlink()
    (tmp_path / "out/image/prompt_learner/checkpoint").write_text("model.pth.tar-1\n")
    capsys.readouterr()
    started(world, "TaIDPTEnsemble", tmp_path / "out", *options)
    assert "text is finished" in capsys.readouterr().out
    assert text.stat().st_mtime_ns == before
    second = ScoreTable.load(tmp_path / "out/scores.npz")
    np.testing.assert_array_equal(first.merged, second.merged)
    third = started(
        world, "TaIDPTEnsemble", tmp_path / "eval", *options, eval_only=True,
        model_dir=tmp_path / "out",
    )  # fmt: skip
    np.testing.assert_array_equal(third.evaluator.scores("merged"), first.merged)


def test_a_component_with_other_settings_is_not_reused(world, tmp_path, capsys):
    options = configs(tmp_path)
    started(world, "TaIDPTEnsemble", tmp_path / "out", *options)
    argv = worlds.arguments(world, "TaIDPTEnsemble", tmp_path / "out", *SMALL, *options, seed=2)
    assert main(argv) == 2
    assert "out holds a run with other options (SEED: 1 there, 2 here)" in capsys.readouterr().err
    (tmp_path / "out/results.json").unlink()  # not even where only the component is there
    assert main(argv) == 2
    assert "out/text holds a run with other options (SEED" in capsys.readouterr().err


def test_labels_that_have_changed_since_the_runs_are_refused(world, runs, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(world, root)
    path = root / "tiny/instances_test.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 6
    path.write_text(json.dumps(content))
    assert main(worlds.arguments(root, "TaIDPTEnsemble", tmp_path / "out", *of_runs(runs))) == 2
    error = capsys.readouterr().err
    assert "2 labels of dataset 'CocoFormat', test split, are not those that" in error
    assert "first that of 'dog' in image '0'" in error
    assert not (tmp_path / "out/results.json").exists()


def bad(runs: Path, tmp_path: Path) -> dict[str, tuple[tuple, str]]:
    return {
        "neither": ((), "TEXT_RUN (a finished run's folder) or"),
        "both": (of_runs(runs, f"{NODE}.TEXT_CONFIG", "x.yaml"), "not both"),
        "unfinished": (
            (f"{NODE}.TEXT_RUN", runs / "text", f"{NODE}.IMAGE_RUN", tmp_path),
            "no results.json there; it is not finished",
        ),
        "no yaml": (
            (f"{NODE}.TEXT_RUN", runs / "text", f"{NODE}.IMAGE_CONFIG", tmp_path / "no.yaml"),
            "no.yaml",
        ),
        "range": (of_runs(runs, f"{NODE}.WEIGHT", "1.2"), "must lie in [0, 1]"),
        "word": (of_runs(runs, f"{NODE}.WEIGHT", "best"), "a number in [0, 1], or auto"),
        "nothing held out": (of_runs(runs, f"{NODE}.WEIGHT", "auto"), "DATASET.HOLDOUT is 0"),
        "other held out": (
            of_runs(runs, f"{NODE}.WEIGHT", "auto", "DATASET.HOLDOUT", 0.2),
            "DATASET.HOLDOUT: 0.3 there, 0.2 here",
        ),
        "normalisation": (of_runs(runs, f"{NODE}.NORMALISE", "minmx"), "did you mean 'minmax'"),
        "another's option": (
            (
                *(f"{NODE}.TEXT_RUN", runs / "text", f"{NODE}.IMAGE_CONFIG", tmp_path / "no.yaml"),
                *(f"{NODE}.IMAGE_OPTS", "['TRAINER.MLCOOP.N_CTX', 2]"),
            ),
            "IMAGE_OPTS: TRAINER.MLCOOP.N_CTX is for MLCoOp, and DualCoOp is to be trained",
        ),
        "rule": (of_runs(runs, f"{NODE}.IMAGE_RECTIFY", "center"), "did you mean 'centre'"),
    }


CASES = [
    *("neither", "both", "unfinished", "no yaml", "range", "word", "nothing held out"),
    *("other held out", "normalisation", "another's option", "rule"),
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line(world, runs, tmp_path, capsys, case):
    options, message = bad(runs, tmp_path)[case]
    argv = worlds.arguments(world, "TaIDPTEnsemble", tmp_path / "out", *SMALL, *options)
    assert main(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("train.py: error: ")
    assert message in error
    assert not (tmp_path / "out/results.json").exists()


def test_runs_of_other_images_are_named(world, runs, tmp_path, capsys):
    other = tmp_path / "runs"
    shutil.copytree(runs / "image", other / "image")
    shutil.copytree(runs / "text", other / "text")
    table = ScoreTable.load(other / "image/scores.npz")
    renamed = ScoreTable(**{**vars(table), "ids": (*table.ids[:-1], "another")})
    renamed.save(other / "image/scores.npz")
    assert main(worlds.arguments(world, "TaIDPTEnsemble", tmp_path, *of_runs(other))) == 2
    assert "other images: 1 only in" in capsys.readouterr().err
