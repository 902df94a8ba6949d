"""Taggers of every method score as the trainers do, and are kept, explained and exported."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tai_dpt import Tagger
from tai_dpt.errors import InputError
from tai_dpt.io.images import as_image
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.scoring.scores import KINDS
from tai_dpt.tagger.exporting import compare_onnx, export_onnx
from tai_dpt.tagger.fitting import METHODS
from tai_dpt.tagger.tagger import PromptTagger
from tai_dpt.trainers.run import build_parser, setup_cfg
from tai_dpt.trainers.run import run as run_trainer

import worlds
from taggers import CAPTIONS, CLASSES, photo, run, weight_file

QUICK = ("OPTIM.MAX_EPOCH", 2, "TRAINER.TAIDPT.N_CTX", 2, "FEATURES.CACHE", "memory")
TRAINERS = {
    "tai-dpt": ("TaIDPT",),
    "concepts": ("Concepts",),
    "comc": ("CoMC",),
    "mix": ("TaIDPT", "TRAINER.TAIDPT.CONCEPTS", True),
    "piaa": ("PIAA", "TRAINER.PIAA.SETTING", "voc2007"),
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    (folder / "corpus.txt").write_text("\n".join(CAPTIONS))
    weight_file(folder)
    photo(folder / "photo.png")
    return folder


@pytest.mark.parametrize("name", TRAINERS)
def test_a_tagger_scores_as_its_trainer(world, tmp_path, name):
    trainer, *options = TRAINERS[name]
    exact = ("FEATURES.PRECISION", "fp32")
    argv = worlds.arguments(world, trainer, tmp_path / "run", *QUICK, *exact, *options)
    trained = run_trainer(setup_cfg(build_parser().parse_args(argv)))
    learned = trained.learned()
    assert learned.method.name == name
    tagger = PromptTagger(
        backbone=trained.backbone,
        class_names=trained.dataset.classnames,
        embeddings=learned.tensors,
        contexts={},
        method=learned.method,
        scoring=learned.scoring,
        preprocessing=trained.preprocessing,
        backbone_file=world / "tiny/clip.safetensors",
    )
    tagger.save(tmp_path / "tagger")
    loaded = Tagger.load(tmp_path / "tagger")
    table = ScoreTable.load(tmp_path / "run/scores.npz")
    paths = trained.images["test"].paths
    for kind in KINDS:
        theirs = table.of(kind)
        np.testing.assert_allclose(loaded.scores(paths, kind=kind), theirs, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(
            loaded.scores(paths, kind=kind), tagger.scores(paths, kind=kind)
        )
    # a heat map shows what the local scores are made of
    pixels = tagger.preprocessing(as_image(paths[0]))[None]
    features = tagger.backbone.encode_images(pixels, position_embedding=False)
    columns = list(range(len(tagger.classes_)))
    places = tagger.method.places(features, tagger.embeddings, columns)[0]
    local = tagger.score_features(features, sharpness=1e4).local[0]
    if name == "piaa":
        best = (200 * places.exp().amax(dim=0)).softmax(dim=0)
    elif name == "mix":  # of places that are best for prompts and for concepts, each
        return
    else:
        best = places.amax(dim=0) * (1 if name == "comc" else tagger.scoring.scale)
    torch.testing.assert_close(best, local, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rule", ["none", "standardise"])
@pytest.mark.parametrize("method", METHODS)
def test_fit_keeps_explains_and_exports_each_method(desk, tmp_path, method, rule):
    out = tmp_path / "tagger"
    epochs = () if method == "concepts" else ("--epochs", 2)
    given = ("--captions", desk / "corpus.txt", "--backbone", desk / "tiny.safetensors", *epochs)
    asked = ("--method", method, "--rectify", rule, "--out", out, "--json")
    small = ("TRAINER.TAIDPT.N_CTX", 2) if method in ("tai-dpt", "mix") else ()
    options = (*small, "FEATURES.CACHE", "memory")
    code, said, err = run("fit", "--classes", desk / "classes.txt", *given, *asked, *options)
    assert code == 0, err
    assert json.loads(said)["method"] == method
    tagger = Tagger.load(out)
    assert tagger.method.name == method and tagger.scoring.rectify == rule
    first = tagger.scores(desk / "photo.png")
    tagger.save(tmp_path / "again")
    np.testing.assert_array_equal(first, Tagger.load(tmp_path / "again").scores(desk / "photo.png"))
    assert np.isfinite(tagger.predict_proba(desk / "photo.png")).all()
    heat = tagger.heatmap(desk / "photo.png", "dog")
    assert np.isfinite(heat).all() and heat.std() > 0
    code, _, err = run("explain", out, desk / "photo.png", "--out", tmp_path / "why.png")
    assert code == 0, err
    code, said, err = run("explain", out, "--text", "a dog beside a car", "--json")
    assert code == 0, err
    unit = "logit" if method == "comc" else "similarity"
    assert json.loads(said)["captions"][0]["unit"] == unit
    card = (out / "README.md").read_text()
    assert ("prompts were learned" in card) == (method in ("tai-dpt", "mix"))
    assert ("linear head" in card) == (method == "comc")
    assert ("nothing was trained" in card) == (method == "concepts")
    assert run("export", out, "--out", tmp_path / "service")[0] == 0
    facts = json.loads((tmp_path / "service/service.json").read_text())["scores"]
    assert facts["method"] == method and ("rectify_merged" in facts) == (rule != "none")


@pytest.mark.parametrize("method", ["mix", "comc"])
def test_onnx_of_a_method_agrees(desk, tmp_path, method):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    tagger = Tagger.from_captions(
        classes=CLASSES,
        captions=CAPTIONS,
        backbone=desk / "tiny.safetensors",
        method=method,
        rectify="softmax",
        options=QUICK if method == "mix" else ("OPTIM.MAX_EPOCH", 2),
    )
    export_onnx(tagger, tmp_path / "image.onnx")
    assert compare_onnx(tagger, tmp_path / "image.onnx") < 1e-3


def test_bad_methods_are_one_line(desk, tmp_path):
    given = {"classes": CLASSES, "captions": CAPTIONS, "backbone": desk / "tiny.safetensors"}
    with pytest.raises(InputError, match="unknown method 'concept'; did you mean 'concepts'"):
        Tagger.from_captions(**given, method="concept")
    with pytest.raises(InputError, match="is the method mix"):
        Tagger.from_captions(**given, options=["TRAINER.TAIDPT.CONCEPTS", True])
    with pytest.raises(InputError, match="needs the captions at hand"):
        guided = ["TRAINER.CONCEPTS.CONTEXT_GUIDED", True]
        Tagger.from_captions(**given, method="concepts", options=guided)
    code, _, err = run(
        *("fit", "--classes", desk / "classes.txt", "--out", tmp_path / "x"),
        *("--method", "concepts", "--epochs", 3),
    )
    assert code == 2 and "--epochs goes with --method tai-dpt, comc or mix, not concepts" in err
    given = ("fit", "--classes", desk / "classes.txt", "--out", tmp_path / "x")
    code, _, err = run(*given, "--include-backbone")  # of RN50, before it would be fetched
    assert code == 2 and "cannot be copied" in err


def test_a_method_nobody_knows_in_the_folder_is_refused(desk, tmp_path):
    Tagger.from_captions(
        classes=CLASSES,
        captions=CAPTIONS,
        backbone=desk / "tiny.safetensors",
        method="comc",
        options=QUICK,
    ).save(tmp_path / "mine")
    about = tmp_path / "mine/tagger.json"
    content = json.loads(about.read_text())
    assert content["format_version"] == 2
    assert content["method"] == {"name": "comc", "towards_text": 0.3, "text_scale": 100.0}
    for change, message in (({"name": "clip"}, "method"), ({"name": "mix"}, "it lacks 'global'")):
        about.write_text(json.dumps({**content, "method": change}))
        with pytest.raises(InputError, match=message):
            Tagger.load(tmp_path / "mine")
