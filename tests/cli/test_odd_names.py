"""Signs that end lines, begin formulae or are markup, in names and captions: every command works,
and what it writes is read back as it was."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tai_dpt import Tagger
from tai_dpt.cli.train import main
from tai_dpt.io.spreadsheets import as_given
from tai_dpt.scoring.results import ScoreTable, load_results

import worlds
from taggers import photo, run

CLASSES = ("do$g$", "car | van", "<i>cat</i>", 'per"son, man')
WORDS = ("dog", "car", "cat", "man")
STEMS = (
    *("a\u2028b", "a\u2029b", "a\x85b", "$a_{$", "cr\rhere", "cr\r\nlf", "nl\nhere", " lead"),
    *("=1+1", "com,ma;|\t", "<b>&amp;\"'", "\x1cfs", "e\u0301"),
)
NAMES = [f"{stem}.png" for stem in STEMS]
CAPTIONS = [
    f"a {a}{mark}and a {b}"
    for mark in ("\u2028", "\u2029", "\x85", " $ ", "\r", "$_{")
    for a, b in zip(WORDS, (*WORDS[1:], "nothing"), strict=True)
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Images, labels, a class list, captions, a tagger and a run, all of them oddly named."""
    folder = tmp_path_factory.mktemp("desk")
    worlds.write_world(folder, images=1)
    (folder / "images").mkdir()
    labels = [[CLASSES[i % 4], CLASSES[(i + 1) % 4]] for i in range(len(NAMES))]
    for seed, name in enumerate(NAMES):
        photo(folder / "images" / name, seed=seed)
    rows = zip(NAMES, labels, strict=True)
    lines = [json.dumps({"image": name, "labels": present}) for name, present in rows]
    (folder / "images/labels.jsonl").write_text("\n".join(lines))
    with open(folder / "images/labels.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *CLASSES])
        for name, present in zip(NAMES, labels, strict=True):
            writer.writerow([name, *(int(c in present) for c in CLASSES)])
    entries = [{"name": n, "synonyms": [w]} for n, w in zip(CLASSES, WORDS, strict=True)]
    (folder / "classes.json").write_text(json.dumps(entries))
    (folder / "captions.jsonl").write_text(
        "\n".join(json.dumps({"caption": text}) for text in CAPTIONS)
    )
    config = json.loads((folder / "tiny.yaml").read_text())
    config["DATASET"] = {
        "NAME": "ImageList",
        "VOCABULARY": "classes.json",
        "IMAGE_LIST": {"IMAGES": "images", "TEST": "images/labels.jsonl"},
        "CORPUS": {"FILES": ["captions.jsonl"]},
    }
    (folder / "tiny.yaml").write_text(json.dumps(config))
    assert main(worlds.arguments(folder, "ZSCLIP", folder / "run")) == 0
    given = ("--classes", folder / "classes.json", "--captions", folder / "captions.jsonl")
    given += ("--backbone", folder / "tiny/clip.safetensors", "--method", "concepts")
    code, _, err = run("fit", *given, "--out", folder / "tagger")
    assert code == 0, err
    return folder


def test_a_run_keeps_its_names_and_its_page_shows_them(desk) -> None:
    table = ScoreTable.load(desk / "run/scores.npz")
    assert table.ids == tuple(NAMES) and table.class_names == CLASSES
    assert load_results(desk / "run/results.json")["class_names"] == list(CLASSES)
    code, _, err = run("page", desk / "run", "--per-class", 6)
    assert code == 0, err
    shown: list[str] = []

    class Images(HTMLParser):
        def handle_starttag(self, tag, attrs):
            shown.append(dict(attrs).get("alt") or "")

    page = (desk / "run/report.html").read_text(encoding="utf-8")  # with a browser's line ends
    Images().feed(page)
    assert all(any(name in alt for alt in shown) for name in NAMES)
    assert "<i>cat</i>" not in page and "&lt;i&gt;cat&lt;/i&gt;" in page


def test_fused_and_reported(desk, tmp_path) -> None:
    places = ("--out", tmp_path / "both", "--curve", tmp_path / "curve.png")
    code, _, err = run("fuse", desk / "run", desk / "run", *places)
    assert code == 0, err
    assert ScoreTable.load(tmp_path / "both/scores.npz").ids == tuple(NAMES)
    assert run("page", tmp_path / "both", "--root", desk)[0] == 0
    for style in ("text", "markdown", "latex", "csv"):
        assert run("report", desk / "run", "--format", style)[0] == 0


def test_a_corpus_is_shown_a_line_a_caption(desk, tmp_path) -> None:
    given = ("--captions", desk / "captions.jsonl", "--classes", desk / "classes.json")
    code, out, err = run("corpus", *given, "--class", CLASSES[0], "--out", tmp_path / "drawn")
    assert code == 0, err
    captions = [line for line in out.split("\n") if line.startswith("  a ")]
    assert len(captions) == 6 and not re.search("[\r\x85\u2028\u2029]", out)
    facts = json.loads(run("corpus", *given, "--class", CLASSES[0], "--json")[1])
    assert set(facts["captions_of_class"]) <= set(CAPTIONS)
    run("label", given[1], *given[2:], "--out", tmp_path / "labels.jsonl")
    lines = (tmp_path / "labels.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert [json.loads(line)["caption"] for line in lines] == CAPTIONS


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "json"])
def test_tags_are_read_back_and_gone_on_with(desk, tmp_path, ending) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"tags.{ending}"
    given = ("tag", desk / "tagger", desk / "images", "--top", 2, "--out", out)
    given += ("--format", "coco") if ending == "json" else ()
    assert run(*given)[0] == 0
    whole = out.read_bytes()
    if ending == "csv":
        with out.open(newline="", encoding="utf-8") as stream:
            rows = [[as_given(cell) for cell in row] for row in csv.reader(stream)][1:]
        found = {(row[0], row[1]) for row in rows}
    elif ending == "jsonl":
        lines = whole.decode().rstrip("\n").split("\n")
        records = map(json.loads, lines)
        found = {(r["image"], label["class"]) for r in records for label in r["labels"]}
    elif ending == "parquet":
        from pyarrow.parquet import read_table

        found = {(row["image"], row["class"]) for row in read_table(out).to_pylist()}
    else:
        content = json.loads(whole)
        files = {image["id"]: image["file_name"] for image in content["images"]}
        classes = {entry["id"]: entry["name"] for entry in content["categories"]}
        found = {(files[a["image_id"]], classes[a["category_id"]]) for a in content["annotations"]}
    assert {image for image, _ in found} == {str(desk / "images" / name) for name in NAMES}
    assert {name for _, name in found} <= set(CLASSES)
    code, _, err = run(*given, "--resume")
    kept = len(NAMES) - (ending == "csv")  # whose last image may lack lines
    assert code == 0 and f"{kept} of {len(NAMES)} done already" in err
    assert out.read_bytes() == whole


@pytest.mark.parametrize("labels", ["labels.jsonl", "labels.csv"])
def test_calibrated_by_labels_of_either_kind(desk, labels) -> None:
    table = desk / "images" / labels
    code, out, err = run("calibrate", desk / "tagger", "--labelled", table, "--json", "--dry-run")
    assert code == 0, err
    assert json.loads(out)["positives"] == [7, 7, 6, 6]


def test_explained(desk, tmp_path) -> None:
    names = NAMES[3:5]
    images = [desk / "images" / name for name in names]
    asked = ("--class", CLASSES[0], "--class", CLASSES[2], "--text", CAPTIONS[0])
    for ending in ("png", "html"):
        out = tmp_path / f"why.{ending}"
        code, _, err = run("explain", desk / "tagger", *images, *asked, "--out", out)
        assert code == 0, err
    facts = json.loads(run("explain", desk / "tagger", *images, *asked, "--json")[1])
    assert [item["image"] for item in facts["images"]] == names
    assert "&lt;i&gt;cat" in out.read_text() and "<i>cat" not in out.read_text()


def test_a_tagger_and_its_card_and_service(desk, tmp_path) -> None:
    assert Tagger.load(desk / "tagger").classes_.tolist() == list(CLASSES)
    assert r"do\$g\$, car \| van, \<i\>cat\</i\>" in (desk / "tagger/README.md").read_text()
    assert run("export", desk / "tagger", "--out", tmp_path / "service")[0] == 0
    facts = json.loads((tmp_path / "service/service.json").read_text())
    assert facts["class_names"] == list(CLASSES)
    assert np.isfinite(facts["calibration"]["threshold"])
