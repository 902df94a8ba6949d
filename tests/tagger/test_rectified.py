"""A tagger that rectifies each image's scores: from fitting to the folder and the commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tai_dpt import Tagger
from tai_dpt.errors import InputError
from tai_dpt.scoring.calibration import calibrate_on_captions
from tai_dpt.scoring.rectification import choose_rectification, rectify
from tai_dpt.scoring.scores import KINDS, Scoring
from tai_dpt.tagger.exporting import service_facts

from taggers import CAPTIONS, CLASSES, OPTIONS, run, tagger_and_photos, weight_file

pytestmark = pytest.mark.filterwarnings("ignore:rectifying")
RULES = ("centre", "standardise", "softmax")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tagger_and_photos(tmp_path_factory.mktemp("desk"), 12)
    (folder / "corpus.txt").write_text("\n".join(CAPTIONS))
    return folder


@pytest.fixture
def mine(desk, tmp_path):
    """A copy of the tagger that a test may change."""
    return shutil.copytree(desk / "tagger", tmp_path / "mine")


@pytest.mark.parametrize("how", RULES)
def test_scores_are_rectified_kind_by_kind_and_so_they_are_from_the_folder(desk, tmp_path, how):
    plain, images = Tagger.load(desk / "tagger"), sorted((desk / "photos").iterdir())[:3]
    before = {kind: plain.scores(images, kind=kind) for kind in KINDS}
    plain.scoring = replace(plain.scoring, rectify=how)
    plain.save(tmp_path / "rectified")
    loaded = Tagger.load(tmp_path / "rectified")
    assert json.loads((tmp_path / "rectified/tagger.json").read_text())["format_version"] == 2
    sharpness = plain.backbone.logit_scale / 4
    for kind in KINDS:
        expected = rectify(torch.from_numpy(before[kind]), how, sharpness=sharpness)
        np.testing.assert_allclose(loaded.scores(images, kind=kind), expected, atol=1e-4)
    assert how in json.dumps(service_facts(loaded)) or how == "centre"


def test_fit_calibrates_on_what_it_will_see(tmp_path):
    tagger = Tagger.from_captions(
        classes=CLASSES,
        captions=CAPTIONS[:60],  # so few that those that are learned from are held out, too
        backbone=weight_file(tmp_path),
        options=OPTIONS,
        rectify="standardise",
    )
    texts = [text for text in CAPTIONS[:60] if text != "nothing to see here"]
    labels = np.array([[name.split()[0] in text for name in CLASSES] for text in texts], int)
    expected, _ = calibrate_on_captions(tagger.caption_scores(texts), labels)
    assert tagger.calibration == expected
    assert abs(tagger.caption_scores(texts).mean(axis=1)).max() < 1e-5


def test_a_folder_without_rectification_is_one_of_version_1(desk):
    content = json.loads((desk / "tagger/tagger.json").read_text())
    assert content["format_version"] == 1 and "rectify" not in content["scoring"]


def test_bad_rules_are_refused_before_work(tmp_path):
    with pytest.raises(InputError, match=r"unknown rectification \(rectify\) 'center'; did you"):
        Tagger.from_captions(classes=CLASSES, backbone=weight_file(tmp_path), rectify="center")
    with pytest.raises(InputError, match="one class has no deviation"):
        Tagger.from_captions(classes=["dog"], backbone="RN50", rectify="standardise")


@pytest.mark.filterwarnings("default:rectifying")
def test_few_classes_are_warned_of(desk):
    tagger = Tagger.load(desk / "tagger")
    with pytest.warns(UserWarning, match="noisy with 3 classes"):
        Tagger(
            backbone=tagger.backbone,
            class_names=CLASSES,
            embeddings=tagger.embeddings,
            contexts={},
            scoring=Scoring(rectify="centre"),
        )


def test_tag_with_another_rule_has_scores_and_no_probabilities(desk):
    image = desk / "photos/0.png"
    code, out, err = run("tag", desk / "tagger", image, "--rectify", "centre", "--json")
    assert code == 0, err
    assert "not calibrated" in err
    labels = json.loads(out)[0]["labels"]
    assert sum(label["score"] for label in labels) == pytest.approx(0, abs=1e-3)
    code, _, err = run(
        *("tag", desk / "tagger", image, "--rectify", "centre", "--threshold", 0.5),
    )
    assert code == 2 and "calibrate it so first ('tai-dpt calibrate --rectify centre')" in err
    same = run("tag", desk / "tagger", image, "--rectify", "none", "--json")
    assert same[1] == run("tag", desk / "tagger", image, "--json")[1]


def test_resume_does_not_mix_rules(desk, tmp_path):
    arguments = ("tag", desk / "tagger", desk / "photos/0.png", "--out", tmp_path / "a.csv")
    assert run(*arguments)[0] == 0
    code, _, err = run(*arguments, "--resume", "--rectify", "centre")
    assert code == 2 and "was written without --rectify: --resume goes on with the same only" in err


def test_calibrate_keeps_the_rule_it_was_given(desk, mine):
    captions = ("--captions", desk / "corpus.txt")
    code, _, err = run("calibrate", mine, "--images", desk / "photos", "--rectify", "centre")
    assert code == 2 and "for 'centre' add --captions, or give --labelled" in err
    code, out, err = run("calibrate", mine, *captions, "--rectify", "centre")
    assert code == 0, err
    assert "rectified by: centre" in out
    tagger = Tagger.load(mine)
    assert tagger.scoring.rectify == "centre"
    assert "calibration_on_captions" not in tagger.provenance  # it was of other scores
    assert np.isfinite(tagger.predict_proba(desk / "photos/0.png")).all()


def test_calibrate_chooses_on_labelled_images(desk, mine, tmp_path):
    images = sorted((desk / "photos").iterdir())
    rows = [f"{path},{CLASSES[i % 3]}" for i, path in enumerate(images)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,labels", *rows]))
    labelled = ("--labelled", tmp_path / "labels.csv")
    code, _, err = run("calibrate", mine, *labelled, "--rectify", "auto")
    assert code == 0, err
    before = Tagger.load(desk / "tagger")
    chosen, _ = choose_rectification(
        before.scores(images), np.eye(3)[np.arange(12) % 3], sharpness=before.softmax_sharpness
    )
    assert Tagger.load(mine).scoring.rectify == chosen and f"auto: {chosen}" in err
    code, _, err = run("calibrate", mine, "--images", desk / "photos", "--rectify", "auto")
    assert code == 2 and "--rectify auto goes with --labelled" in err


def test_a_rule_is_chosen_where_it_helps_on_both_halves():
    generator = np.random.default_rng(0)
    labels = generator.random((40, 5)) < 0.4
    scores = labels + 0.3 * generator.standard_normal((40, 5))
    assert choose_rectification(scores, labels)[0] == "none"  # the more it shows, the higher
    rule, quality = choose_rectification(scores + 9 * generator.standard_normal((40, 1)), labels)
    assert rule != "none" and quality > 70
    assert choose_rectification(scores[:1], labels[:1])[0] == "none"
