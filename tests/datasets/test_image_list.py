"""Anybody's images and labels, by config alone."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
import yaml

from tai_dpt.cli.train import main
from tai_dpt.datasets.label_files import read_label_file
from tai_dpt.errors import InputError
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import layouts

CLASSES = Vocabulary.from_names({"dog": ["dog", "puppy"], "Traffic Light": [], "car": ["car"]})
IMAGES = ("a.jpg", "b.jpg", "deep/c.jpg", "deep/d.png")


@pytest.fixture
def root(tmp_path):
    """``mine``: four images, a class list, captions."""
    home = tmp_path / "mine"
    for seed, name in enumerate(IMAGES):
        layouts.write_image(home / "images" / name, seed)
    (home / "classes.txt").write_text("dog\nTraffic Light\ncar\n")
    (home / "captions.txt").write_text("a dog in a car\na traffic light\ntwo cars\nthe sky\n")
    layouts.write_clip(tmp_path)
    return tmp_path


def arguments(root, output, *options, trainer="ZSCLIP", **image_list):
    config = {
        "DATASET": {
            "NAME": "ImageList",
            "VOCABULARY": "mine/classes.txt",
            "IMAGE_LIST": {"IMAGES": "mine/images", **image_list},
            "CORPUS": {"FILES": ["mine/captions.txt"]},
        }
    }
    (root / "mine.yaml").write_text(yaml.safe_dump(config))
    flags = ("--root", root, "--dataset-config-file", root / "mine.yaml", "--trainer", trainer)
    flags += ("--output-dir", output, "--seed", 1, *layouts.TINY, *options)
    return [str(flag) for flag in flags]


def built(root, output, *options, **image_list):
    argv = arguments(root, output, *options, **image_list)
    return run(setup_cfg(build_parser().parse_args(argv)), no_train=True)


def labels(path, text, **options):
    path.write_bytes(text.encode())
    return read_label_file(path, CLASSES, **options)


TWO = [[1, -1, 1], [-1, -1, -1]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "image,dog,traffic light,car\na.jpg,1,0,1\nb.jpg,0,0,0\n"),
        ("x.csv", "image,car,dog,traffic light\na.jpg,1,1,-1\nb.jpg,-1,-1,-1\n"),
        ("x.csv", "file,puppy,traffic light,car\r\na.jpg,1.0,0.0,True\r\nb.jpg,0.0,no,0\r\n"),
        ("x.csv", "\ufeffimage,labels\na.jpg,dog;car\nb.jpg,\n"),
        ("x.csv", 'image,labels\na.jpg,"Puppy, car"\nb.jpg,""\n'),
        ("x.csv", "labels,path\nCar|dog,a.jpg\n\n,b.jpg\n"),
        ("x.csv", "image,labels\na.jpg,['dog' 'car']\nb.jpg,[]\n"),
        ("x.csv", "image,labels\na.jpg,\"{'dog', 'car'}\"\nb.jpg,()\n"),
        ("x.csv", 'image,labels\na.jpg,"[dog, car]"\nb.jpg,"{}"\n'),
        ("x.csv", 'image,choice,tag\na.jpg,2,"{""choices"":[""dog"",""car""]}"\nb.jpg,1,\n'),
        ("x.csv", 'image,labels\na.jpg,"dog\ncar"\nb.jpg,\n'),
        ("x.csv", "filename,class,xmin\na.jpg,dog,1\nb.jpg,,\na.jpg,car,2\n"),
        ("x.csv", "ImageID,Source,LabelName\na.jpg,x,dog;car\nb.jpg,x,\n"),
        ("x.csv", "\n# exported\nimage|dog|traffic light|car\na.jpg|1|0|1\nb.jpg|0|0|0\n"),
        ("x.csv", "image;dog;traffic light;car\na.jpg;WAHR;FALSCH;Y\nb.jpg;n;faux;falso\n"),
        ("x.tsv", "image\ttags\na.jpg\tdog, car\nb.jpg\t\n"),
        (
            "x.jsonl",
            '{"image": "a.jpg", "labels": ["car", "dog"]}\n\n{"image": "b.jpg", "labels": []}',
        ),
        ("x.jsonl", '{"image": "a.jpg", "label": "dog;car"}\n{"image": "b.jpg", "label": ""}'),
        ("x.csv", "File name,dog,traffic_light,car\na.jpg,1,0,1\nb.jpg,0,0,0\n,,,\n"),
        ("x.csv", "image_path;dog;Traffic-Light;car\na.jpg;1;0;1\nb.jpg;0;0;0\n;;;\n"),
        ("x.csv", "image\tdog\ttraffic light\tcar\na.jpg\t1\t0\t1\nb.jpg\t0\t0\t0\n"),
        ("x.csv", "image_id;classes\na.jpg;dog,car\nb.jpg;\n"),
        ("x.csv", "image,labels\na.jpg,\"['dog', 'car']\"\nb.jpg,[]\n"),  # as pandas writes lists
        ("x.ndjson", '{"file": "a.jpg", "tags": ["CAR", "puppy"]}\r\n{"file":"b.jpg","tags":[]}'),
    ],
)
def test_formats_say_the_same(tmp_path, name, text):
    read = labels(tmp_path / name, text)
    assert read.names == ["a.jpg", "b.jpg"]
    assert read.labels.tolist() == TWO


COMMAS = Vocabulary.from_names(["dog", "black, white dog", "cat"])


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("black, white dog;cat", [-1, 1, 1]),
        ("cat, black, white dog", [-1, 1, 1]),
        ("dog, cat", [1, -1, 1]),
        ("cat,dog,black, white dog", [1, 1, 1]),
        (" ; ", [-1, -1, -1]),
    ],
)
def test_a_class_name_may_have_a_separator(tmp_path, cell, expected):
    (tmp_path / "x.csv").write_text(f'image,labels\na.jpg,"{cell}"\n')
    assert read_label_file(tmp_path / "x.csv", COMMAS).labels.tolist() == [expected]


def test_a_class_may_be_called_as_a_column_of_labels_is(tmp_path):
    (tmp_path / "x.csv").write_text("image,label,cat\na.jpg,1,0\n")
    tags = Vocabulary.from_names(["cat", "label"])
    assert read_label_file(tmp_path / "x.csv", tags).labels.tolist() == [[-1, 1]]


def test_row_numbers_of_pandas_are_no_class(tmp_path):
    for header in ("", "Unnamed: 0"):
        text = f"{header},image,dog,traffic light,car\n0,a.jpg,1,0,0\n1,b.jpg,0,0,1\n"
        read = labels(tmp_path / "x.csv", text)
        assert read.names == ["a.jpg", "b.jpg"]
        assert read.labels.tolist() == [[1, -1, -1], [-1, -1, 1]]


def test_soft_labels_need_a_number_to_decide_by(tmp_path):
    text = "image,dog,traffic light,car\na.jpg,0.7,0.3,0\nb.jpg,1,,0.5\n"
    with pytest.raises(
        InputError, match=r"line 2: '0\.7' in column 'dog' is a soft .*PRESENT_FROM"
    ):
        labels(tmp_path / "x.csv", text)
    read = labels(tmp_path / "x.csv", text, present_from=0.5)
    assert read.labels.tolist() == [[1, -1, -1], [1, 0, 1]]
    decimals = labels(tmp_path / "x.csv", "image;dog;car\na.jpg;0,7;0,3\n", present_from=0.5)
    assert decimals.labels.tolist() == [[1, 0, -1]]
    with pytest.raises(InputError, match="PRESENT_FROM is 2"):
        labels(tmp_path / "x.csv", text, present_from=2)


def test_a_number_may_name_an_image(tmp_path):
    read = labels(tmp_path / "x.jsonl", '{"image": 12, "labels": ["dog"]}\n')
    assert read.names == ["12"]
    read = labels(tmp_path / "x.jsonl", '{"image": 12.0, "labels": ["dog"]}\n')
    assert read.names == ["12"]


def test_excels_first_line_says_what_parts_the_columns(tmp_path):
    read = labels(tmp_path / "x.csv", "sep=;\nimage;labels\na.jpg;dog\n")
    assert (read.names, read.labels.tolist()) == (["a.jpg"], [[1, -1, -1]])
    with pytest.raises(InputError, match="line 3: unknown class 'dgo'"):
        labels(tmp_path / "x.csv", "sep=;\nimage;labels\na.jpg;dgo\n")


def test_ids_are_the_files_however_a_table_names_them(root, tmp_path):
    (root / "mine/test.csv").write_text("image,labels\nimages\\A.JPG,dog\nc,car\ndeep/d.png,\n")
    images = built(root, tmp_path / "out", TEST="mine/test.csv").dataset.images("test")
    assert images.ids == ("a.jpg", "deep/c.jpg", "deep/d.png")
    assert images.paths[1] == str(root / "mine/images/deep/c.jpg")


def test_a_name_nearly_right_is_asked_about(root, tmp_path):
    (root / "mine/test.csv").write_text("image,labels\na.jpg,car\nbb.jpg,dog\n")
    with pytest.warns(UserWarning, match=r"1 of 2 images .*bb\.jpg; did you mean 'b\.jpg'\?"):
        assert main(arguments(root, tmp_path / "out", TEST="mine/test.csv")) == 2


def test_training_labels_may_be_named_and_missing_where_captions_teach(root, tmp_path, capsys):
    (root / "mine/test.csv").write_text("image,labels\na.jpg,car\nb.jpg,dog\n")
    named = {"TRAIN": "mine/train.csv", "TEST": "mine/test.csv"}
    assert main(arguments(root, tmp_path / "text", trainer="TaIDPT", **named)) == 0
    assert main(arguments(root, tmp_path / "image", trainer="MLCoOp", **named)) == 2
    assert "train.csv is missing" in capsys.readouterr().err


def test_an_empty_cell_is_unknown(tmp_path):
    read = labels(tmp_path / "x.csv", "image,dog,traffic light,car\na.jpg,1,NA,nan\n")
    assert read.labels.tolist() == [[1, 0, 0]]


def test_zero_and_minus_one_together_must_be_explained(tmp_path):
    text = "image,dog,traffic light,car\na.jpg,1,0,-1\n"
    with pytest.raises(InputError, match=r"line 2: the file has both 0 and -1; .*ZERO"):
        labels(tmp_path / "x.csv", text)
    assert labels(tmp_path / "x.csv", text, zero="absent").labels.tolist() == [[1, -1, 0]]
    assert labels(tmp_path / "x.csv", text, zero="unknown").labels.tolist() == [[1, 0, -1]]
    with pytest.raises(InputError, match="valid: absent, unknown"):
        labels(tmp_path / "x.csv", text, zero="no")


def test_a_class_without_column_is_unknown_and_said(tmp_path):
    with pytest.warns(UserWarning, match=r"no column for 2 of 3 classes.*Traffic Light, car"):
        assert labels(tmp_path / "x.csv", "image,dog\na.jpg,0\n").labels.tolist() == [[-1, 0, 0]]


def test_other_columns_are_left_out_by_name(tmp_path):
    text = "image,width,dog,traffic light,car\na.jpg,640,1,0,0\n"
    with pytest.raises(InputError, match=r"column unknown class 'width'.*SKIP_COLUMNS"):
        labels(tmp_path / "x.csv", text)
    read = labels(tmp_path / "x.csv", text, skip_columns=["Width"])
    assert read.labels.tolist() == [[1, -1, -1]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "x.csv",
            "image,labels\na.jpg,dgo\n",
            r"x\.csv, line 2: unknown class 'dgo'; did you .*dog",
        ),
        ("x.csv", "image,labels\na.jpg,dog,car\n", "line 2: 3 cells where the first line has 2"),
        ("x.csv", "image,dog,traffic light,car\na.jpg,1,0\n", "line 2: 3 cells where .* has 4"),
        (
            "x.csv",
            "image,dog,traffic light,car\na.jpg,2,0,0\n",
            "'2' in column 'dog'; a label is 1",
        ),
        (
            "x.csv",
            "image,labels\na.jpg,dog\nb.jpg,\na.jpg,car\n",
            "line 4: .*was in line 2 already",
        ),
        (
            "x.csv",
            "image,labels\na.jpg,dog traffic light\n",
            "if ' ' parts names, say so with .*SEP",
        ),
        ("x.csv", "image,labels\na.jpg,dog/car\n", "if '/' parts names"),
        ("x.csv", "image,label,score\na.jpg,dog,1\nb.jpg,car,0.0\n", "line 3: column 'score' is 0"),
        ("x.csv", "image,label,car\na.jpg,dog,1\n", "'label' names the classes, and .* 'car' is"),
        ("x.csv", "image,labels\n ,dog\n", "line 2: the image's name is empty"),
        ("x.csv", "image,dog,Puppy\na.jpg,1,1\n", "'dog' and 'Puppy' are both the class 'dog'"),
        ("x.csv", "name,labels\na.jpg,dog\n", "no column for the image"),
        ("x.csv", "image;labels\na.jpg;dog;car\n", "line 2: 3 cells .* part the labels with ','"),
        (
            "x.csv",
            "image,labels\na\0.jpg,dog\n",
            "line 2: (the image's name is not text|.*contains NUL)",
        ),
        ("x.csv", "i\0m\0a\0g\0e\0,\0", "iconv -f UTF-16LE"),
        ("x.csv", "image\na.jpg\n", "neither class columns nor a column 'labels'"),
        ("x.csv", "image,labels\n", "no images in it"),
        ("x.csv", 'image,labels\n"a.jpg,dog\n', "not valid CSV"),
        ("x.csv", 'image,labels\na.jpg,"[{[]: 1}]"\n', "unknown class"),
        ("x.csv", f'image,labels\na.jpg,"[{"-" * 20_000}1]"\n', "unknown class"),
        ("x.csv", "", "is empty"),
        ("x.txt", "a.jpg dog\n", r"ends in \.csv, \.tsv, \.jsonl"),
        ("x.jsonl", '{"image": "a.jpg", "labels": ["dog"]}\n{"ima', "line 2: not valid JSON"),
        ("x.jsonl", '{"image": "a.jpg", "labels": [0]}\n', "must be a list of class names"),
        ("x.jsonl", '{"image": "a.jpg"}\n', "must be a list of class names"),
        ("x.jsonl", '{"id": "a.jpg", "labels": []}\n', "no field 'image'; it has: id, labels"),
        ("x.jsonl", "[1]\n", "a JSON object is needed, not a list"),
        ("x.jsonl", "null\n", "a JSON object is needed, not null"),
        ("x.jsonl", '{"image": "a", "labels": [], "absent": "dog"}\n', "'absent' must be a list"),
        (
            "x.jsonl",
            '{"image": "a", "labels": ["dog"], "absent": ["dog"]}\n',
            "in 'labels' and in 'absent'",
        ),
        ("x.jsonl", '{"image": null, "labels": []}\n', "'image' is null, not the image's name"),
        ("x.jsonl", "[" * 100_000 + "\n", "line 1: not valid JSON: it is nested too deeply"),
    ],
)
def test_bad_files_name_the_line(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        labels(tmp_path / name, text)


def test_what_spreadsheets_write_where_a_label_is_not_known(tmp_path):
    text = "image,dog,traffic light,car\na.jpg,?,<NA>,1\nb.jpg,None,#N/A,0\n"
    assert labels(tmp_path / "x.csv", text).labels.tolist() == [[0, 0, 1], [0, 0, -1]]


def test_a_column_that_names_classes_can_be_left_aside(tmp_path):
    text = "image,tag,dog,traffic light,car\na.jpg,holidays,1,0,0\n"
    read = labels(tmp_path / "x.csv", text, skip_columns=["tag"])
    assert read.labels.tolist() == [[1, -1, -1]]


def test_not_utf8(tmp_path):
    (tmp_path / "x.csv").write_bytes("image,labels\né.jpg,dog\n".encode("latin1"))
    with pytest.raises(InputError, match=r"not UTF-8.*line 2"):
        read_label_file(tmp_path / "x.csv", CLASSES)


def test_trains_and_evaluates_by_config_alone(root, tmp_path):
    (root / "mine/train.csv").write_text("image,labels\na.jpg,dog\nb.jpg,car;traffic light\n")
    (root / "mine/test.jsonl").write_text(
        '{"image": "deep\\\\c.jpg", "labels": ["dog"]}\n{"image": "deep/d", "labels": ["car"]}\n'
    )
    named = {"TRAIN": "mine/train.csv", "TEST": "mine/test.jsonl"}
    assert main(arguments(root, tmp_path / "text", trainer="TaIDPT", **named)) == 0
    table = ScoreTable.load(tmp_path / "text/scores.npz")
    assert table.labels.tolist() == [[1, -1, -1], [-1, -1, 1]]
    assert table.class_names == ("dog", "Traffic Light", "car")
    assert main(arguments(root, tmp_path / "image", trainer="DualCoOp", **named)) == 0
    trainer = built(root, tmp_path / "built", **named)
    assert trainer.dataset.images("test").paths == (
        str(root / "mine/images/deep/c.jpg"),  # a backslash is a slash
        str(root / "mine/images/deep/d.png"),  # an ending may be left out
    )
    assert len(trainer.dataset.images("val")) == 0


def test_unknown_labels_are_left_out_of_the_metric(root, tmp_path):
    (root / "mine/test.csv").write_text(
        "image,dog,traffic light,car\na.jpg,1,1,1\nb.jpg,,,\ndeep/c.jpg,,,\n"
    )
    assert main(arguments(root, tmp_path / "out", TEST="mine/test.csv")) == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["mAP"] == 100  # nothing that is known to be absent can be ranked above
    assert results["unknown_labels"] == "ignored"


def test_without_labels_images_are_scored(root, tmp_path):
    with pytest.warns(UserWarning, match=r"none of the images is labelled.*nothing to evaluate"):
        assert main(arguments(root, tmp_path / "out", trainer="TaIDPT")) == 0
    table = ScoreTable.load(tmp_path / "out/scores.npz")
    assert table.ids == IMAGES
    assert np.isfinite(table.merged).all()
    assert not table.labels.any()
    assert json.loads((tmp_path / "out/results.json").read_text())["mAP"] is None


def test_missing_images(root, tmp_path, capsys):
    lines = "".join(f"no{i}.jpg,dog\n" for i in range(5))
    (root / "mine/test.csv").write_text(f"image,labels\na.jpg,car\n{lines}")
    missing = r"5 of 6 images are not on disk: .*no0\.jpg, .*no2.jpg, …"
    with pytest.warns(UserWarning, match=missing):
        assert main(arguments(root, tmp_path / "out", TEST="mine/test.csv")) == 2
    (refused,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(missing, refused)
    options = ("DATASET.ON_BAD_IMAGE", "skip")
    with pytest.warns(UserWarning, match="5 images are skipped"):
        assert main(arguments(root, tmp_path / "out", *options, TEST="mine/test.csv")) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"IMAGES": ""}, "IMAGE_LIST.IMAGES is empty"),
        ({"IMAGES": "mine/photos"}, "photos is missing"),
        ({"IMAGES": "mine/classes.txt"}, "is no folder"),
        ({"TEST": "mine/none.csv"}, "none.csv is missing"),
        ({"IMAGES": "empty"}, "no images in it"),
    ],
)
def test_bad_configs(root, tmp_path, change, message):
    (root / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        built(root, tmp_path / "out", **change)


def test_a_class_list_is_needed(root, tmp_path):
    argv = arguments(root, tmp_path / "out", "DATASET.VOCABULARY", "")
    with pytest.raises(InputError, match="name the class list"):
        run(setup_cfg(build_parser().parse_args(argv)))
    (root / "mine/classes.txt").write_text("dog\ncar\nDog\n")
    with pytest.raises(InputError, match="same name after lower-casing: 'dog' and 'Dog'"):
        built(root, tmp_path / "out")


def test_a_circle_of_links_ends(root, tmp_path):
    (root / "mine/images/deep/up").symlink_to(root / "mine/images")
    assert built(root, tmp_path / "out").dataset.images("test").ids == IMAGES


def test_an_image_that_is_listed_by_two_names(root, tmp_path):
    (root / "mine/test.csv").write_text("image,labels\na.jpg,dog\n./a.jpg,car\n")
    with pytest.raises(InputError, match=r"line 3: image '\./a\.jpg' was in line 2 already"):
        built(root, tmp_path / "out", TEST="mine/test.csv")
    whole = root / "mine/images/a.jpg"
    (root / "mine/test.csv").write_text(f"image,labels\na.jpg,dog\n{whole},car\n")
    with pytest.raises(InputError, match=r"test\.csv: 'a\.jpg' and '.*a\.jpg' are the same image"):
        built(root, tmp_path / "out", TEST="mine/test.csv")


def test_what_is_left_aside_is_said(root, tmp_path):
    (root / "mine/images/deep/f.heic.txt").write_text("")
    (root / "mine/images/deep/g.CR2").write_text("")
    with pytest.warns(UserWarning, match=r"images: left aside: 1 \.cr2 \(camera raw.*, 1 \.txt"):
        trainer = built(root, tmp_path / "out")
    assert trainer.images["test"].ids == IMAGES


def test_names_that_are_no_text(root, tmp_path):
    """Bytes that are no UTF-8, as an old disk has them, all the way from folder to scores."""
    name = os.fsdecode(b"caf\xe9.png")
    layouts.write_image(root / "mine/images" / name, 9)
    options = ("FEATURES.CACHE", "disk", "FEATURES.DIR", tmp_path / "cache")
    assert main(arguments(root, tmp_path / "out", *options)) == 0
    assert name in ScoreTable.load(tmp_path / "out/scores.npz").ids
