"""``tai-dpt fuse`` of any number of runs, and ``tai-dpt rescore``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tai_dpt.cli.main import cli
from tai_dpt.errors import InputError
from tai_dpt.scoring.fusion import learn_weights, normalise
from tai_dpt.scoring.metrics import average_precisions
from tai_dpt.scoring.results import ScoreTable, save_results

CLASSES = tuple("abcdefghij")


def write_run(folder, *, noise, seed=0, first=0, count=60, **results):
    """Scores that tell the labels, through ``noise``."""
    rng = np.random.default_rng(99 + first)
    labels = np.where(rng.random((count, len(CLASSES))) < 0.3, 1, -1).astype(np.int8)
    own = np.random.default_rng(seed)
    kinds = [(labels + noise * own.normal(size=labels.shape)).astype(np.float32) for _ in range(3)]
    ids = tuple(str(first + i) for i in range(count))
    ScoreTable(ids, CLASSES, labels, *kinds).save(folder / "scores.npz")
    save_results(folder / "results.json", {"prediction": "merged", "config": {}, **results})
    return folder


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / f"run{k}", noise=1.5, seed=k) for k in range(3)]


def call(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def test_three_runs_of_equal_weight(runs, tmp_path):
    result = call("fuse", *runs, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    tables = [ScoreTable.load(run / "scores.npz") for run in runs]
    expected = np.mean([normalise(table.merged) for table in tables], axis=0)
    fused = ScoreTable.load(tmp_path / "out/scores.npz")
    np.testing.assert_allclose(fused.merged, expected, atol=1e-6)
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["fusion"]["weights"] == pytest.approx([1 / 3] * 3)
    assert [run["scores"] for run in results["fusion"]["runs"]] == [
        str(run / "scores.npz") for run in runs
    ]
    whole = np.mean(average_precisions(fused.merged, fused.labels))
    assert results["mAP"] == pytest.approx(whole)
    assert f"{whole:.2f}" in result.output


def test_weights_are_learned_on_other_images(tmp_path):
    noises = (0.7, 1.5, 30.0)
    test = [write_run(tmp_path / f"t{k}", noise=n, seed=k) for k, n in enumerate(noises)]
    val = [
        write_run(tmp_path / f"v{k}", noise=n, seed=10 + k, first=100) for k, n in enumerate(noises)
    ]
    learn = [word for run in val for word in ("--learn-on", run)]
    result = call("fuse", *test, "--weights", "learned", *learn, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    weights = json.loads((tmp_path / "out/results.json").read_text())["fusion"]["weights"]
    assert sum(weights) == pytest.approx(1) and min(weights) >= 0
    assert weights[2] < 0.2 < weights[0]
    same = [word for run in test for word in ("--learn-on", run)]
    result = call("fuse", *test, "--weights", "learned", *same)
    assert isinstance(result.exception, InputError)
    assert "is among those that are fused" in str(result.exception)
    trainers = ["TaIDPT", "CoMC", "PIAA", "CoMC", "TaIDPT", "PIAA"]
    for folder, trainer in zip([*test, *val], trainers, strict=True):
        save_results(folder / "results.json", {"trainer": trainer, "config": {}})
    result = call("fuse", *test, "--weights", "learned", *learn)
    assert isinstance(result.exception, InputError)
    assert "is of CoMC and stands where" in str(result.exception)


def test_learned_weights_are_no_worse_than_equal_ones():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((80, 6)) < 0.3, 1, -1)
    matrices = [labels + noise * rng.normal(size=labels.shape) for noise in (1, 2, 4)]

    def quality(weights):
        parts = [w * normalise(m) for w, m in zip(weights, matrices, strict=True)]
        return np.mean(average_precisions(np.sum(parts, axis=0), labels))

    weights = learn_weights(matrices, labels)
    assert quality(weights) >= quality([1 / 3] * 3)
    assert learn_weights(matrices, labels) == weights
    assert learn_weights([matrices[0]] * 3, labels) == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "0.5,0.5"), "2 weights do not go with 3 runs"),
        (("--weights", "0.5,0.6,-0.1"), "must be 0 or more, and 1 together"),
        (("--weights", "nan,0.5,0.5"), "must be 0 or more, and 1 together"),
        (("--weights", "best"), "neither numbers like 0.5,0.3,0.2 nor equal or learned"),
        (("--weights", "learned"), "--weights learned and --learn-on go together"),
        (("--weight", "0.5"), "--weight is for two runs, and there are 3"),
        (("--rectify", "none", "--rectify", "centre"), "once, or once for each of the 3 runs"),
        (("--curve", "x.png"), "which is for two runs"),
    ],
)
def test_bad_options_are_one_line(runs, options, message):
    result = call("fuse", *runs, *options)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception) and "\n" not in str(result.exception)


def test_each_run_rectified_by_itself(runs, tmp_path):
    rules = ("standardise", "none", "centre")
    words = [word for rule in rules for word in ("--rectify", rule)]
    result = call("fuse", *runs, *words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    parts = []
    for run, rule in zip(runs, rules, strict=True):
        scores = ScoreTable.load(run / "scores.npz").merged.astype(np.float64)
        if rule != "none":
            scores = scores - scores.mean(1, keepdims=True)
        if rule == "standardise":
            scores = scores / scores.std(1, ddof=1, keepdims=True)
        parts.append(normalise(scores))
    fused = ScoreTable.load(tmp_path / "out/scores.npz").merged
    np.testing.assert_allclose(fused, np.mean(parts, axis=0), atol=1e-5)


def test_rescore_on_images_that_show_a_class(runs, tmp_path):
    table = ScoreTable.load(runs[0] / "scores.npz")
    table.labels[::3] = -1
    table.save(runs[0] / "scores.npz")
    words = ("--rectify", "none", "--eval-images", "any_positive")
    assert call("rescore", runs[0], *words, "--out", tmp_path / "out").exit_code == 0
    rows = np.flatnonzero((table.labels > 0).any(1))
    left = ScoreTable.load(tmp_path / "out/scores.npz")
    assert left.ids == tuple(table.ids[row] for row in rows) and len(rows) < 41
    np.testing.assert_array_equal(left.local, table.local[rows])
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["images"] == len(rows)
    assert results["config"]["DATASET"]["EVAL_IMAGES"] == "any_positive"
    expected = np.mean(average_precisions(table.merged[rows], table.labels[rows]))
    assert results["mAP"] == pytest.approx(expected)


def test_rescore(runs, tmp_path):
    result = call("rescore", runs[0], "--rectify", "centre", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    before = ScoreTable.load(runs[0] / "scores.npz")
    after = ScoreTable.load(tmp_path / "out/scores.npz")
    expected = before.local - before.local.mean(1, keepdims=True)
    np.testing.assert_allclose(after.local, expected, atol=1e-5)
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["rectify"] == "centre"
    assert f"{results['metrics']['local']['mAP']:.2f}" in result.output
    again = call("rescore", tmp_path / "out", "--rectify", "centre")
    assert "rectified already (centre)" in str(again.exception)
    soft = call("rescore", runs[0], "--rectify", "softmax")
    assert "give --sharpness" in str(soft.exception)
    assert call("rescore", runs[0], "--rectify", "softmax", "--sharpness", 3).exit_code == 0
