"""``tai-dpt tag --format parquet | coco | xmp``: where tags go beside lines of text."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from tai_dpt.io.images import read_image, upright_size
from tai_dpt.io.lock import try_lock
from tai_dpt.io.xmp import xmp

from taggers import CLASSES, photo, run, tagger_and_photos

FILES = ("parquet", "coco")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tagger_and_photos(tmp_path_factory.mktemp("desk"), 3)
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(folder / "photos" / "turned.jpg", exif=turned)
    (folder / "photos" / "broken.jpg").write_text("text")
    return folder


@pytest.fixture
def photos(desk, tmp_path):
    return Path(shutil.copytree(desk / "photos", tmp_path / "photos"))


def tags(path):
    """{image: {class: probability}} of a file of tags."""
    if path.suffix == ".jsonl":
        records = [json.loads(line) for line in path.read_text().splitlines()]
        return {
            record["image"]: {tag["class"]: tag["probability"] for tag in record["labels"]}
            for record in records
            if "labels" in record
        }
    if path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        found = {row["image"]: {} for row in rows}
        for row in rows:
            if row["class"]:
                found[row["image"]][row["class"]] = pytest.approx(row["probability"], abs=1e-6)
        return found
    content = json.loads(path.read_text())
    assert [c["name"] for c in content["categories"]] == CLASSES
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found = {name: {} for name in names.values()}
    for annotation in content["annotations"]:
        found[names[annotation["image_id"]]][CLASSES[annotation["category_id"] - 1]] = annotation[
            "score"
        ]
    return found


@pytest.mark.parametrize("format_", FILES)
def test_files_say_what_lines_say(desk, tmp_path, format_):
    arguments = ("tag", desk / "tagger", desk / "photos", "--threshold", 0.3)
    run(*arguments, "--out", tmp_path / "tags.jsonl")
    code, _, err = run(*arguments, "--format", format_, "--out", tmp_path / f"tags.{format_}")
    assert code == 3 and "broken.jpg" in err
    assert tags(tmp_path / f"tags.{format_}") == tags(tmp_path / "tags.jsonl")
    assert not list(tmp_path.glob("*.part"))


def test_boxes_are_the_whole_upright_image(desk, tmp_path):
    out = tmp_path / "tags.json"
    run("tag", desk / "tagger", desk / "photos", "--top", 1, "--format", "coco", "--out", out)
    content = json.loads(out.read_text())
    sizes = {Path(i["file_name"]).name: (i["width"], i["height"]) for i in content["images"]}
    assert sizes["turned.jpg"] == (70, 90) and sizes["0.png"] == (90, 70)
    of = {image["id"]: image for image in content["images"]}
    for number, annotation in enumerate(content["annotations"], 1):
        image = of[annotation["image_id"]]
        assert annotation["bbox"] == [0, 0, image["width"], image["height"]]
        assert annotation["id"] == number and annotation["area"] == 90 * 70
    for name in sizes:
        assert sizes[name] == read_image(desk / "photos" / name).size
        assert sizes[name] == upright_size(desk / "photos" / name)


@pytest.mark.parametrize("format_", FILES)
@pytest.mark.parametrize("cut", [0, 40, 200])
def test_an_interrupted_file_goes_on(desk, tmp_path, format_, cut):
    whole, out = tmp_path / "whole", tmp_path / "tags"
    arguments = ("tag", desk / "tagger", desk / "photos", "--top", 2, "--format", format_)
    run(*arguments, "--out", whole)
    lines = run(*arguments[:-1], "jsonl")[1].splitlines()
    text = json.dumps(json.loads(lines[0]) | {"width": 90, "height": 70}) + "\n" + lines[1]
    Path(f"{out}.part").write_text(text[:cut])
    assert "add --resume" in run(*arguments, "--out", out)[2]
    code, _, err = run(*arguments, "--out", out, "--resume")
    assert code == 3, err
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("format_", FILES)
def test_a_finished_file_takes_new_images_and_is_not_replaced(desk, tmp_path, format_):
    out, whole = tmp_path / f"tags.{format_}", tmp_path / f"whole.{format_}"
    arguments = ("tag", desk / "tagger", "--top", 2, "--format", format_)
    run(*arguments, desk / "photos/0.png", "--out", out)
    assert "exists; add --resume" in run(*arguments, desk / "photos", "--out", out)[2]
    err = run(*arguments, desk / "photos", "--out", out, "--resume")[2]
    assert "1 of 5 done already" in err
    run(*arguments, desk / "photos", "--out", whole)
    assert tags(out) == tags(whole)
    with open(tmp_path / f".{out.name}.made-by.json", "r+b") as stream:
        try_lock(stream)
        err = run(*arguments, desk / "photos", "--out", out, "--resume")[2]
    assert "another process is writing" in err
    (tmp_path / f".{out.name}.made-by.json").write_text("null")
    err = run(*arguments, desk / "photos", "--out", out, "--resume")[2]
    assert "should be an object, not null; add --overwrite to start anew" in err
    out.write_text("{}")
    assert run(*arguments, desk / "photos", "--out", out, "--resume")[0] == 2


def keywords(path):
    names = ElementTree.parse(path).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li")
    return [name.text for name in names]


def test_sidecars_hold_the_keywords_and_none_is_touched(desk, photos):
    (photos / "0.png.xmp").write_text("mine")
    arguments = ("tag", desk / "tagger", photos, "--format", "xmp", "--top", 2)
    code, out, err = run(*arguments)
    assert code == 3 and out == ""
    assert "xmp: 1 of 5 have a sidecar, which stays as it is" in err
    assert "3 sidecars written" in err
    assert (photos / "0.png.xmp").read_text() == "mine"
    lines = run("tag", desk / "tagger", photos / "1.png", "--top", 2, "--format", "jsonl")[1]
    assert keywords(photos / "1.png.xmp") == [t["class"] for t in json.loads(lines)["labels"]]
    assert sorted(p.name for p in photos.glob("*.xmp")) == [
        *("0.png.xmp", "1.png.xmp", "2.png.xmp", "turned.jpg.xmp")
    ]
    assert json.loads(run(*arguments, "--json")[1])["written"] == 0


def test_an_image_without_tags_gets_no_sidecar(desk, photos):
    arguments = (photos / "1.png", "--format", "xmp", "--threshold", 1)
    assert "0 sidecars written" in run("tag", desk / "tagger", *arguments)[2]
    assert not list(photos.glob("*.xmp"))


def test_sidecars_by_stem(desk, photos):
    arguments = ("tag", desk / "tagger", "--format", "xmp", "--xmp-name", "stem", "--top", 1)
    run(*arguments, photos / "1.png", photos / "turned.jpg")
    assert sorted(p.name for p in photos.glob("*.xmp")) == ["1.xmp", "turned.xmp"]
    (photos / "2.jpg").write_bytes((photos / "turned.jpg").read_bytes())
    err = run(*arguments, photos)[2]
    assert "2.jpg and " in err and "2.png would share the sidecar" in err


def test_what_does_not_go_together(desk, photos):
    arguments = ("tag", desk / "tagger", photos / "0.png")
    for more, message in (
        (("--format", "xmp", "--out", photos / "x.xmp"), "writes beside the images"),
        (("--format", "xmp", "--overwrite"), "writes beside the images"),
        (("--format", "csv", "--xmp-name", "full"), "--xmp-name goes with --format xmp"),
        (("--format", "parquet"), "--format parquet needs --out"),
    ):
        code, _, err = run(*arguments, *more)
        assert code == 2 and message in err


def test_a_package_that_is_missing_is_told_first(desk, photos, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    err = run("tag", desk / "tagger", photos, "--out", photos / "x.parquet")[2]
    assert "pip install 'tai-dpt[parquet]'" in err and not (photos / "x.parquet.part").exists()


WORDS = ["dog", "Monitor/TV", "R&B <live>", "café", "bell\x07", 'a "b"', "狗"]


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reads_the_keywords(tmp_path):
    (tmp_path / "a.jpg.xmp").write_bytes(xmp(WORDS))
    command = ["exiftool", "-json", "-XMP-dc:Subject", "-validate", "-warning", "a.jpg.xmp"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    (found,) = json.loads(said.stdout)
    assert found["Subject"] == [word.replace("\x07", " ") for word in WORDS]
    assert "Warning" not in found


def test_any_name_is_xml(tmp_path):
    (tmp_path / "a.xmp").write_bytes(xmp(WORDS))
    assert keywords(tmp_path / "a.xmp") == [word.replace("\x07", " ") for word in WORDS]


@pytest.mark.parametrize(
    ("name", "content"), [("tags.json", '{"images": [], "categories": []}'), ("tags.parquet", "x")]
)
def test_nothing_is_added_to_a_file_of_others(desk, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    arguments = ("tag", desk / "tagger", desk / "photos", "--out", tmp_path / name, "--resume")
    code, _, err = run(*arguments, "--format", {"tags.json": "coco"}.get(name, "parquet"))
    assert code == 2 and "was not written by tag" in err
    assert (tmp_path / name).read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_ending_of_another_format_is_refused(desk, tmp_path):
    arguments = ("tag", desk / "tagger", desk / "photos", "--format", "coco", "--out")
    code, _, err = run(*arguments, tmp_path / "tags.parquet")
    assert code == 2 and "is called as parquet is, and --format says coco" in err
