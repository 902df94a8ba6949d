"""COCO 2014 in its official layout, by the configs that ship."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tai_dpt.cli.train import main
from tai_dpt.datasets.coco_format import instances_split
from tai_dpt.datasets.coco_json import read_coco
from tai_dpt.errors import InputError
from tai_dpt.io.shipped import config_path
from tai_dpt.labels.vocabulary import Vocabulary
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
        (
            lambda c: c["images"].pop(0),
            r"annotations\[0\] \(id 0\): it speaks of image 1, category 1, .* no such image",
        ),
        (lambda c: c["categories"].pop(0), "speaks of image 1, category 1, .* no such category"),
        (lambda c: c["categories"][0].update(name="persn"), "category 'persn' is none of the 80"),
        (lambda c: c.pop("images"), "it lacks 'images'"),
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
    with pytest.raises(
        InputError, match=r"instances_val2014\.json: not valid JSON: .*line 1 .*is the file whole"
    ):
        built(tmp_path / "data", tmp_path / "out")


PETS = Vocabulary.from_names(["dog", "cat"])
IMAGE = {"id": 1, "file_name": "a.jpg"}
DOG = {"id": 1, "name": "dog"}
OBJECT = {"id": 1, "image_id": 1, "category_id": 1}


def written(folder, **parts):
    path = folder / "instances.json"
    content = {"images": [IMAGE], "annotations": [OBJECT], "categories": [DOG], **parts}
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "left out"}))
    return path


def split_of(folder, vocabulary=PETS, *, crowd="count", training=False, **parts):
    file = read_coco(written(folder, **parts))
    return instances_split(file, folder, vocabulary, crowd=crowd, training=training)


@pytest.mark.parametrize(
    ("parts", "label"),
    [
        ({}, 1),
        ({"annotations": [{"image_id": "1", "category_id": "1"}]}, 1),
        ({"annotations": [{"image_id": 1.0, "category_id": 1}]}, 1),
        ({"annotations": None}, -1),
        ({"images": [{"id": "1", "file_name": "a.jpg"}]}, 1),
        ({"images": [{"id": 1, "coco_url": "http://images.example/val/a.jpg?x=1"}]}, 1),
        ({"images": [{"id": 1, "file_name": None, "coco_url": "http://images.example/a.jpg"}]}, 1),
        ({"categories": [{"id": 1, "name": " Dog "}]}, 1),
        ({"categories": [{"id": 1, "name": "DOG"}, {"id": 5, "name": "unused"}]}, 1),
        (
            {
                "categories": [
                    {"id": 0, "name": "animals", "supercategory": "none"},
                    {"id": 1, "name": "dog", "supercategory": "animals"},
                ]
            },
            1,
        ),
    ],
)
def test_what_other_tools_write_is_read(tmp_path, parts, label):
    split = split_of(tmp_path, **parts)
    assert split.ids == ("1",)
    assert split.paths == (str(tmp_path / "a.jpg"),)
    assert split.labels.tolist() == [[label, -1]]


def test_a_root_category_is_no_class(tmp_path):
    root = {"id": 0, "name": "pets", "supercategory": "none"}
    dog = {**DOG, "supercategory": "pets"}
    assert list(read_coco(written(tmp_path, categories=[root, dog])).categories.values()) == ["dog"]
    used = [{"image_id": 1, "category_id": 0}]
    both = read_coco(written(tmp_path, categories=[root, dog], annotations=used))
    assert list(both.categories.values()) == ["pets", "dog"]


def test_a_category_of_its_own_supercategory_is_a_class_where_no_object_has_it(tmp_path):
    person = {"id": 2, "name": "person", "supercategory": "person"}
    named = read_coco(written(tmp_path, categories=[DOG, person])).categories
    assert list(named.values()) == ["dog", "person"]


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg"])
def test_one_file_is_one_image(tmp_path, again):
    images = [IMAGE, {"id": 2, "file_name": again}]
    with pytest.raises(InputError, match=r"instances\.json: images: 'a.jpg' and .* the same image"):
        split_of(tmp_path, images=images)


@pytest.mark.parametrize(
    ("content", "origin"),
    [
        ({"a.jpg99": {"filename": "a.jpg", "size": 99, "regions": []}}, "VIA wrote it"),
        ({"version": "5", "shapes": [], "imagePath": "a.jpg"}, "LabelMe wrote it"),
        ([{"id": 1, "data": {"image": "a.jpg"}}], "Label Studio wrote it"),
        ([{"image_id": 1, "category_id": 1, "score": 0.5}], "these are predictions"),
    ],
)
def test_what_another_tool_wrote_is_named(tmp_path, content, origin):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"x\.json: .*; {origin}"):
        read_coco(tmp_path / "x.json")


def test_what_lvis_did_not_look_for_is_unknown(tmp_path):
    classes = Vocabulary.from_names(["dog", "cat", "cow"])
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(classes.names)]
    images = [{"id": 1, "coco_url": "http://x/a.jpg", "neg_category_ids": [3]}]
    split = split_of(tmp_path, classes, images=images, categories=categories)
    assert split.labels.tolist() == [[1, 0, -1]]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"images": {"1": IMAGE}}, "'images' is {.*}, not a list"),
        ({"images": [3]}, r"images\[0\] is 3, not an object"),
        ({"annotations": [OBJECT, 7]}, r"annotations\[1\] is 7, not an object"),
        ({"annotations": "none"}, "'annotations' is 'none', not a list"),
        ({"categories": [None]}, r"categories\[0\] is null, not an object"),
        ({"images": [{"file_name": "a.jpg"}]}, r"images\[0\]: has no 'id'"),
        ({"images": [{"id": 1}]}, r"images\[0\] \(id 1\): has no 'file_name', .* LVIS"),
        ({"images": [{"id": 1, "file_name": ["a.jpg"]}]}, r"file_name is \['a.jpg'\], not a"),
        ({"images": [{"id": True, "file_name": "a.jpg"}]}, "id is True, not a number or a text"),
        ({"categories": [{"name": "dog"}]}, r"categories\[0\]: has no 'id'"),
        ({"categories": [{"id": 1}]}, r"categories\[0\] \(id 1\): has no 'name'"),
        ({"categories": [DOG, {"id": 1, "name": "cat"}]}, "named 'cat' here and 'dog' above"),
        ({"annotations": [{"image_id": [1], "category_id": 1}]}, r"image_id is \[1\], not a"),
        ({"annotations": [{"image_id": 1}]}, r"annotations\[0\]: has no 'category_id'$"),
        (
            {"annotations": [{"image_id": 1, "segments_info": []}]},
            "has no 'category_id'; a COCO panoptic file .*: give the instances file",
        ),
        (
            {"annotations": [{"image_id": 1, "caption": "a dog"}], "categories": "left out"},
            "lacks 'categories' .*; a COCO captions file .* DATASET.CORPUS.FILES",
        ),
        ({"annotations": [{**OBJECT, "bbox": [0, 0, "1", 1]}]}, "bbox is .*, not four numbers"),
        ({"categories": [{"id": 1, "name": "fox"}]}, "category 'fox' is none of the 2 classes"),
    ],
)
def test_bad_entries_are_named(tmp_path, parts, message):
    with pytest.raises(InputError, match=rf"instances\.json: .*{message}"):
        split_of(tmp_path, **parts)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"images": 1' + "0" * 5000 + "}", "[]", ""])
def test_what_is_no_instances_file(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.json") as error:
        read_coco(path)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_instances_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_coco(tmp_path)


@pytest.mark.parametrize(
    ("crowd", "training", "expected"),
    [
        ("count", True, [1, 1]),
        ("leave_out", True, [-1, 1]),
        ("paper", True, [-1, -1]),  # as the public code for table 2: no crowd, nothing under a
        ("paper", False, [-1, 1]),  # pixel in training; in testing no crowd
    ],
)
def test_crowds_and_boxes_under_a_pixel(tmp_path, crowd, training, expected):
    objects = [
        {"image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 50, 50]},
        {"image_id": 1, "category_id": 2, "iscrowd": 0, "bbox": [0, 0, 0.5, 50]},
    ]
    categories = [DOG, {"id": 2, "name": "cat"}]
    split = split_of(
        tmp_path, crowd=crowd, training=training, annotations=objects, categories=categories
    )
    assert split.labels.tolist() == [expected]


def test_the_crowd_option_reaches_the_labels(root, tmp_path):
    data = damaged(root, tmp_path / "data", lambda c: c["annotations"][0].update(iscrowd=1))
    for choice, label in (("count", 1), ("leave_out", -1)):
        dataset = built(data, tmp_path / "out", "DATASET.COCO.CROWD", choice).dataset
        assert dataset.images("test").labels[0, 0] == label
    with pytest.raises(InputError, match="did you mean 'count'"):
        built(data, tmp_path / "out", "DATASET.COCO.CROWD", "cuont")
