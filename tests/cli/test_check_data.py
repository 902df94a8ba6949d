"""``tai-dpt check-data``: what is there, what is not, and the exit code."""

from __future__ import annotations

import re

import pytest
import yaml
from click.testing import CliRunner

from tai_dpt.cli.main import cli
from tai_dpt.datasets import inventory
from tai_dpt.datasets.inventory import CHECKS, Part
from tai_dpt.errors import InputError

import layouts


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    layouts.write_voc(root)
    layouts.write_nuswide(root)
    layouts.write_coco(root)
    layouts.write_narratives(root)
    layouts.write_flickr(root)
    return root


def run(*arguments):
    return CliRunner().invoke(cli, ["check-data", *map(str, arguments)])


def found(name, root):
    return {part.what: part.found for part in CHECKS[name](root)}


COUNTS = {
    "voc2007": {
        "trainval list": 6,
        "trainval labels": 20,
        "trainval images": 6,
        "test list": 5,
        "test labels": 20,
        "test images": 5,
    },
    "nuswide": {
        "concepts": 81,
        "train list": 6,
        "train labels": 81,
        "train images": 6,
        "test list": 5,
        "test labels": 81,
        "test images": 5,
    },
    "coco2014": {
        "train2014 instances": 6,
        "… images with an object": 4,
        "train2014 images": 6,
        "val2014 instances": 5,
        "val2014 images": 5,
    },
    "captions_train2014": {"captions": 12, "… images they speak of": 6},
    "captions_val2014": {"captions": 12, "… images they speak of": 6},
    "captions_train2017": {"captions": 12, "… images they speak of": 6},
    "openimages": {"narratives": 12},
    "flickr8k": {"captions": 10},
    "flickr30k": {"captions": 10},
}


@pytest.mark.parametrize("name", CHECKS)
def test_counts(root, name):
    assert found(name, root) == COUNTS[name]


def test_nuswide_as_its_archives_unpack(tmp_path):
    layouts.write_nuswide(tmp_path, unpacked=True)
    assert found("nuswide", tmp_path) == COUNTS["nuswide"]


def test_a_complete_source_exits_with_0(root, monkeypatch):
    def complete(folder):
        return [Part(p.what, p.path, p.found, p.found) for p in CHECKS["voc2007"](folder)]

    monkeypatch.setattr(inventory, "CHECKS", {**CHECKS, "whole": complete})
    result = run("--root", root, "whole")
    assert result.exit_code == 0
    assert "What to do" not in result.output
    assert result.output.count("complete") == 6
    assert run("--root", root, "whole", "flickr8k").exit_code == 1


def test_what_is_not_there_is_one_line_and_advice(tmp_path):
    result = run("--root", tmp_path)
    assert result.exit_code == 1
    table, advice = result.output.split("What to do")
    for name in CHECKS:
        assert re.search(rf"^{name} +everything +missing$", table, re.MULTILINE)
        assert re.search(rf"^  {name}: .*{re.escape(str(tmp_path))}", advice, re.MULTILINE)


def test_counts_beside_the_official_ones(root):
    result = run("--root", root, "voc2007")
    assert result.exit_code == 1
    row = next(line for line in result.output.splitlines() if "test images" in line)
    assert re.search(r"JPEGImages +5 +4,952 +4,947 missing$", row)


def test_missing_images_are_named(tmp_path):
    home = layouts.write_voc(tmp_path)
    (home / "JPEGImages/001003.jpg").unlink()
    result = run("--root", tmp_path, "voc2007")
    assert re.search(r"voc2007, test images: 1 are not on disk: .*001003\.jpg", result.output)


@pytest.mark.parametrize(
    ("name", "file", "what", "note"),
    [
        ("coco2014", "COCO/annotations/instances_val2014.json", "val2014 instances", "cut short"),
        ("captions_val2014", "COCO/annotations/captions_val2014.json", "captions", "cut short"),
        (
            "openimages",
            "OpenImages/captions/open_images_train_v6_captions.jsonl",
            "narratives",
            "cut short",
        ),
        (
            "voc2007",
            "VOCdevkit/VOC2007/ImageSets/Main/cat_test.txt",
            "test labels",
            "not an image id and 1, 0 or -1|has no label for",
        ),
        (
            "nuswide",
            "NUSWIDE/TrainTestLabels/Labels_sky_Test.txt",
            "test labels",
            "4 labels, but TestImagelist.txt lists 5 images",
        ),
    ],
)
def test_half_a_download_is_damaged(tmp_path, name, file, what, note):
    writers = {
        "coco2014": layouts.write_coco,
        "captions_val2014": layouts.write_coco,
        "openimages": layouts.write_narratives,
        "voc2007": layouts.write_voc,
        "nuswide": layouts.write_nuswide,
    }
    writers[name](tmp_path)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-5])
    part = next(part for part in CHECKS[name](tmp_path) if part.what == what)
    assert re.search(note, part.note)
    assert not part.complete
    assert part.note in run("--root", tmp_path, name).output


@pytest.mark.parametrize(
    ("part", "state"),
    [
        (Part("", "", 5, 5), "complete"),
        (Part("", "", 5, None), "complete"),
        (Part("", "", None, 5), "missing"),
        (Part("", "", 4, 5), "1 missing"),
        (Part("", "", 6000, 5), "5,995 too many"),
        (Part("", "", 5, 5, "cut short"), "damaged"),
        (Part("", "", None, 5, "cut short"), "damaged"),
    ],
)
def test_state(part, state):
    assert part.state == state
    assert part.complete == (state == "complete")


def test_empty_files(tmp_path):
    for name in ("captions_train2014.json", "instances_val2014.json"):
        path = tmp_path / "COCO/annotations" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "Flickr8k").mkdir()
    (tmp_path / "Flickr8k/Flickr8k.token.txt").touch()
    result = run("--root", tmp_path, "captions_train2014", "coco2014", "flickr8k")
    assert result.exit_code == 1
    assert "cut short" in result.output


def own_data(root, **image_list):
    for seed, name in enumerate("ab"):
        layouts.write_image(root / f"mine/images/{name}.jpg", seed)
    (root / "mine/classes.txt").write_text("dog\ncar\n")
    (root / "mine/captions.txt").write_text("a dog\na car\nthe sky\n")
    dataset = {
        "NAME": "ImageList",
        "VOCABULARY": "mine/classes.txt",
        "IMAGE_LIST": {"IMAGES": "mine/images", **image_list},
        "CORPUS": {"FILES": ["mine/captions.txt"]},
    }
    (root / "mine.yaml").write_text(yaml.safe_dump({"DATASET": dataset}))
    return ["--root", root, "--dataset-config-file", root / "mine.yaml"]


def test_own_data(tmp_path):
    result = run(*own_data(tmp_path))
    assert "Loading" not in result.output  # it is no part of what is there
    assert result.exit_code == 0, result.output
    assert re.search(r"mine +classes +mine/classes\.txt +2 +2 +complete", result.output)
    assert re.search(r"test images +2 +2 +complete", result.output)
    assert re.search(r"captions +mine/captions\.txt +3", result.output)


def test_what_lies_beside_own_images_is_a_row(tmp_path):
    flags = own_data(tmp_path)
    for name in ("c.heic.mov", "d.mov", "notes.txt"):
        (tmp_path / "mine/images" / name).write_text("x")
    (tmp_path / "mine/images/.git").mkdir()
    result = run(*flags)
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if "left aside" in line)
    assert "2 .mov (video: take frames out of it), 1 .txt; folders .git" in row
    assert re.search(r"mine/images +3 +complete$", row)


def test_own_data_with_mistakes(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/test.csv").write_text("image,labels\na.jpg,dog\nc.jpg,car\n")
    flags = own_data(tmp_path, TEST="mine/test.csv")
    result = run(*flags)
    assert result.exit_code == 1
    assert re.search(r"mine, test images: 1 are not on disk: .*c\.jpg", result.output)
    (tmp_path / "mine/test.csv").write_text("image,labels\na.jpg,dgo\n")
    result = run(*flags)
    assert result.exit_code == 1
    assert "line 2: unknown class 'dgo'; did you mean 'dog'" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--root", "{root}", "voc2012"), "unknown dataset 'voc2012'; did you mean 'voc2007'"),
        (("--root", "{root}/none"), "is no folder"),
        (("--root", "{root}", "--dataset-config-file", "{root}/none.yaml"), "none.yaml"),
    ],
)
def test_bad_input(root, arguments, message):
    result = run(*(a.format(root=root) for a in arguments))
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
