"""COCO 2014 in its official layout, by the configs that ship."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tai_dpt.cli.train import main
from tai_dpt.errors import InputError
from tai_dpt.io.shipped import config_path
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import layouts


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    layouts.write_coco(root)
    layouts.write_clip(root)
    return root


def arguments(root, output, *options, trainer="ZSCLIP", config="coco2014.yaml"):
    flags = ("--root", root, "--dataset-config-file", config_path("datasets", config))
    flags += ("--trainer", trainer, "--output-dir", output, "--seed", 1, *layouts.TINY, *options)
    return [str(flag) for flag in flags]


def built(root, output, *options, **named):
    argv = arguments(root, output, *options, **named)
    return run(setup_cfg(build_parser().parse_args(argv)), no_train=True)


def test_official_layout(root, tmp_path):
    dataset = built(root, tmp_path).dataset
    images = dataset.images("test")
    assert images.paths[0] == str(root / "COCO/val2014/COCO_val2014_000000000001.jpg")
    assert images.labels.shape == (5, 80)
    names = np.array(dataset.classnames)
    assert names[images.labels[3] == 1].tolist() == ["motor bike", "aeroplane"]  # the paper's words
    assert (images.labels[4] == -1).all()  # images without objects are tested on too
    assert len(dataset.images("train")) == 6
    readable = built(root, tmp_path, "DATASET.CLASS_NAMES", "readable").dataset
    np.testing.assert_array_equal(readable.images("test").labels, images.labels)


def test_every_image_is_tested_on(root, tmp_path):
    assert main(arguments(root, tmp_path, trainer="TaIDPT")) == 0
    assert len(ScoreTable.load(tmp_path / "scores.npz").ids) == 5


def test_training_images_may_be_missing_where_none_are_learned_from(root, tmp_path, capsys):
    shutil.copytree(root, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/COCO/train2014")
    (tmp_path / "data/COCO/train2014").mkdir()
    assert main(arguments(tmp_path / "data", tmp_path / "text", trainer="TaIDPT")) == 0
    assert main(arguments(tmp_path / "data", tmp_path / "image", trainer="MLCoOp")) == 2
    assert "none of its 6 images is on disk" in capsys.readouterr().err


def test_image_learned_prompts_see_partial_labels(root, tmp_path):
    trainer = built(root, tmp_path, "DATASET.PARTIAL.PROPORTION", 0.5, trainer="DualCoOp")
    assert 0.4 < (trainer.train_images.labels != 0).mean() < 0.6


def test_flickr_captions_in_place_of_its_own(root, tmp_path):
    data = tmp_path / "data"
    for path in layouts.write_flickr(data):
        options = ("DATASET.CORPUS.FILES", f"('{path}',)")
        corpus = built(root, tmp_path / "out", *options, trainer="TaIDPT").dataset.corpus
        assert len(corpus) + corpus.dropped == 10


def damaged(root, folder, change):
    shutil.copytree(root, folder)
    path = folder / "COCO/annotations/instances_val2014.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text("\ufeff" + json.dumps(content), encoding="utf-8")  # a BOM does no harm
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"].append(dict(c["images"][0])), "image id 1 is listed twice"),
        (lambda c: c["images"].pop(0), "annotation 0 speaks of image 1"),
        (lambda c: c["categories"].pop(0), "speaks of image 1, category 1"),
        (lambda c: c["categories"][0].update(name="persn"), "category 'persn' is none of the 80"),
        (lambda c: c.pop("images"), "it lacks images"),
    ],
)
def test_damaged_instances_are_named(root, tmp_path, change, message):
    data = damaged(root, tmp_path / "data", change)
    with pytest.raises(InputError, match=message):
        built(data, tmp_path / "out")


def test_half_a_download(root, tmp_path):
    shutil.copytree(root, tmp_path / "data")
    path = tmp_path / "data/COCO/annotations/instances_val2014.json"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"instances_val2014\.json, line 1: not valid JSON.*whole"):
        built(tmp_path / "data", tmp_path / "out")
