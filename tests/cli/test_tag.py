"""``tai-dpt tag``: many images, in and out."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tai_dpt import Tagger
from tai_dpt.cli.exits import exit_code
from tai_dpt.cli.main import cli
from tai_dpt.tags.sinks import FileSink

from taggers import CAPTIONS, CLASSES, photo, run, tagger_and_photos


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tagger_and_photos(tmp_path_factory.mktemp("desk"), 5)
    (folder / "photos" / "more").mkdir()
    photo(folder / "photos" / "more" / "5.JPG", seed=5)
    (folder / "photos" / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def broken(desk):
    path = desk / "photos" / "broken.jpg"
    path.write_text("text")
    yield path
    path.unlink()


def test_the_three_formats_say_the_same(desk) -> None:
    tagger = Tagger.load(desk / "tagger")
    paths = [str(desk / "photos" / f"{i}.png") for i in range(3)]
    expected = tagger.predict(paths, threshold=0.3)
    arguments = ("tag", desk / "tagger", *paths, "--threshold", 0.3)

    code, out, _ = run(*arguments, "--format", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert json.loads(run(*arguments, "--json")[1]) == records
    assert [r["image"] for r in records] == paths
    assert [[label["class"] for label in r["labels"]] for r in records] == expected
    probabilities = tagger.predict_proba(paths)
    for record, row in zip(records, probabilities, strict=True):
        for label in record["labels"]:
            column = CLASSES.index(label["class"])
            assert label["probability"] == pytest.approx(row[column], abs=1e-4)

    _, out, _ = run(*arguments, "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert [[r["class"] for r in rows if r["image"] == p and r["class"]] for p in paths] == expected

    _, out, _ = run(*arguments)
    for line, path, names in zip(out.splitlines(), paths, expected, strict=True):
        assert line.startswith(path)
        assert all(name in line for name in names)


def test_top(desk) -> None:
    _, out, _ = run("tag", desk / "tagger", desk / "photos", "--top", 2, "--json")
    assert [len(record["labels"]) for record in json.loads(out)] == [2] * 6


def test_unreadable_images_are_listed_and_counted(desk, broken) -> None:
    code, out, err = run("tag", desk / "tagger", desk / "photos", "--json")
    assert code == 3
    records = json.loads(out)
    assert len(records) == 7
    assert [record["image"] for record in records if "error" in record] == [str(broken)]
    assert "1 image could not be read:" in err
    assert "broken.jpg: cannot be read as an image" in err


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_an_interrupted_file_goes_on(desk, tmp_path, format_) -> None:
    whole, part = tmp_path / f"whole.{format_}", tmp_path / f"tags.{format_}"
    arguments = ("tag", desk / "tagger", desk / "photos", "--top", 2)
    run(*arguments, "--out", whole)
    text = whole.read_text()
    for cut in (0, 10, len(text) // 2, len(text) - 3):
        part.unlink(missing_ok=True)
        Path(f"{part}.part").write_text(text[:cut])
        code, _, err = run(*arguments, "--out", part)
        assert code == 2
        assert "is what an interrupted run left; add --resume" in err
        code, _, err = run(*arguments, "--out", part, "--resume")
        assert code == 0, err
        assert part.read_text() == text
        assert not Path(f"{part}.part").exists()


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_names_with_ends_of_lines_in_them_go_on_too(desk, tmp_path, format_) -> None:
    (tmp_path / "odd").mkdir()
    for number, name in enumerate(("a\u2028b.png", "a\x85b.png", "a\x1cb.png", "c.png")):
        photo(tmp_path / "odd" / name, seed=number)
    whole, part = tmp_path / f"whole.{format_}", tmp_path / f"tags.{format_}"
    arguments = ("tag", desk / "tagger", tmp_path / "odd", "--top", 2)
    assert run(*arguments, "--out", whole)[0] == 0
    text = whole.read_bytes()
    Path(f"{part}.part").write_bytes(text[:-5])
    code, _, err = run(*arguments, "--out", part, "--resume")
    assert code == 0, err
    assert "3 of 4 done already" in err
    assert part.read_bytes() == text


ENDINGS = {"csv": (), "jsonl": (), "parquet": (), "json": ("--format", "coco")}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("place", ["within an image", "between batches"])
def test_ctrl_c_in_the_midst_and_on_to_what_one_run_writes(
    desk, broken, tmp_path, monkeypatch, capsys, ending, place
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    arguments = ["tag", desk / "tagger", desk / "photos", "--top", 2, "--batch-size", 2]
    arguments += ENDINGS[ending]

    def ended(out: Path, *more: object) -> int:
        given = [str(word) for word in (*arguments, "--out", out, *more)]
        return exit_code("tai-dpt", lambda: cli.main(given, "tai-dpt", standalone_mode=False))

    whole, cut = tmp_path / f"whole.{ending}", tmp_path / f"cut.{ending}"
    assert ended(whole) == 3
    count, name = (4, "put") if place == "within an image" else (2, "flush")
    before, calls = getattr(FileSink, name), []

    def interrupted(self, *given):
        before(self, *given)
        calls.append(given)
        if len(calls) == count:
            self.stream.flush()
            signal.raise_signal(signal.SIGINT)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(FileSink, name, interrupted)
        assert ended(cut, "--quiet") == 130
    line = (
        f"tai-dpt: interrupted (SIGINT); the same command with --resume goes on with {cut}.part\n"
    )
    assert capsys.readouterr() == ("", line)
    assert ended(cut, "--resume") == 3  # of the broken one it is told again
    assert "broken.jpg: cannot be read" in capsys.readouterr().err
    assert cut.read_bytes() == whole.read_bytes()
    assert not Path(f"{cut}.part").exists()


def test_a_table_is_not_said_to_go_on(desk, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(FileSink, "put", lambda *_: signal.raise_signal(signal.SIGINT))
    given = ["tag", str(desk / "tagger"), str(desk / "photos"), "--out", str(tmp_path / "t.txt")]
    assert exit_code("tai-dpt", lambda: cli.main(given, "x", standalone_mode=False)) == 130
    assert "cannot be gone on with, as a table: add --overwrite" in capsys.readouterr().err


def test_an_image_that_can_be_read_at_last_is_no_error_any_more(desk, broken, tmp_path) -> None:
    out = tmp_path / "tags.jsonl"
    arguments = ("tag", desk / "tagger", desk / "photos", "--top", 1, "--out", out)
    assert run(*arguments)[0] == 3
    assert '"error"' in out.read_text()
    code, _, err = run(*arguments, "--resume")
    assert (code, out.read_text().count("broken.jpg")) == (3, 2), err  # one line, told once
    photo(broken, seed=9, format="PNG")
    assert run(*arguments, "--resume")[0] == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["image"] for r in records if "labels" in r].count(str(broken)) == 1
    assert len(records) == 7 and not any("error" in r for r in records)


def test_resume_and_overwrite_contradict_each_other(desk, tmp_path) -> None:
    arguments = ("tag", desk / "tagger", desk / "photos")
    both = ("--resume", "--overwrite", "--out", tmp_path / "t.csv")
    assert "leave one of them out" in run(*arguments, *both)[2]
    assert "--overwrite needs --out" in run(*arguments, "--overwrite")[2]


def test_a_finished_file_takes_new_images(desk, tmp_path) -> None:
    out = tmp_path / "tags.jsonl"
    run("tag", desk / "tagger", desk / "photos" / "0.png", "--out", out)
    code, _, err = run("tag", desk / "tagger", desk / "photos", "--out", out)
    assert code == 2
    assert "exists; add --resume to go on with it, or --overwrite" in err
    code, _, err = run("tag", desk / "tagger", desk / "photos", "--out", out, "--resume")
    assert "1 of 6 done already" in err
    assert len(out.read_text().splitlines()) == 6


def test_what_resume_cannot_take(desk, tmp_path) -> None:
    out = tmp_path / "tags.csv"
    (tmp_path / "tags.csv.part").write_text("a,b\n1,2\n")
    arguments = ("tag", desk / "tagger", desk / "photos", "--resume")
    assert "is no CSV of tags" in run(*arguments, "--out", out)[2]
    assert "--resume needs --out" in run(*arguments)[2]
    (tmp_path / "tags.txt.part").write_text("x\n")
    assert "a table cannot be read back" in run(*arguments, "--out", tmp_path / "tags.txt")[2]


def test_a_list_of_paths(desk, tmp_path) -> None:
    (tmp_path / "list.txt").write_text(f"{desk / 'photos' / '1.png'}\n\n")
    code, out, _ = run("tag", desk / "tagger", "--list", tmp_path / "list.txt", "--json")
    assert code == 0
    assert len(out.splitlines()) == 1


def test_names_that_are_no_text(desk, tmp_path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    os.rename(photo(tmp_path / "x.png"), name)
    for format_ in ("table", "jsonl", "csv"):
        out = tmp_path / f"tags.{format_}"
        arguments = ("tag", desk / "tagger", tmp_path, "--format", format_, "--out", out)
        code, _, err = run(*arguments, "--top", 1)
        assert code == 0, err
        assert b"caf" in out.read_bytes()
    record = json.loads((tmp_path / "tags.jsonl").read_text())
    assert os.fsencode(record["image"]) == name
    for out in (tmp_path / "tags.parquet", tmp_path / "coco.json"):
        coco = ("--format", "coco") if out.name == "coco.json" else ()
        arguments = ("tag", desk / "tagger", tmp_path, "--top", 1, "--out", out, *coco)
        assert run(*arguments)[0] == 0
        code, _, err = run(*arguments, "--resume")
        assert (code, "1 of 1 done already" in err) == (0, True), err


def test_a_name_with_a_line_break_is_told_in_one_line(desk, tmp_path) -> None:
    (tmp_path / "not\nan image.png").write_text("x")
    photo(tmp_path / "a\nb.png")
    code, out, err = run("tag", desk / "tagger", tmp_path, "--top", 1)
    assert code == 3
    assert "not an image.png: cannot be read" in err
    assert len(out.splitlines()) == 1
    code, _, err = run("adapt", desk / "tagger", tmp_path, "--out", tmp_path / "adapted")
    assert code == 0, err
    assert "not an image.png: cannot be read" in err


def test_a_closed_pipe_is_no_traceback(desk) -> None:
    command = [sys.executable, "-m", "tai_dpt", "tag", str(desk / "tagger")]
    paths = [str(desk / "photos" / f"{i}.png") for i in range(5)]
    child = subprocess.Popen(
        [*command, *paths, "--batch-size", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdout.close()
    errors = child.stderr.read().decode()
    child.wait()
    assert "Traceback" not in errors
    assert errors == ""


def test_wrong_arguments(desk) -> None:
    code, _, err = run("tag", desk / "tagger", desk / "photos", "--threshold", 2)
    assert code == 2
    assert "--threshold" in err
    assert "contradict" in run("tag", desk / "tagger", "x", "--json", "--format", "csv")[2]
    assert (
        "there is no CUDA" in run("tag", desk / "tagger", desk / "photos", "--device", "cuda")[2]
        or __import__("torch").cuda.is_available()
    )


def test_whole_view(desk) -> None:
    wide = photo(desk / "wide.png", size=(300, 40))
    _, center, _ = run("tag", desk / "tagger", wide, "--json", "--top", 3)
    _, whole, _ = run("tag", desk / "tagger", wide, "--json", "--top", 3, "--view", "whole")
    scores = [
        {t["class"]: t["score"] for t in json.loads(out)[0]["labels"]} for out in (center, whole)
    ]
    assert not np.allclose([scores[0][c] for c in CLASSES], [scores[1][c] for c in CLASSES])


def test_the_view_of_fit_and_calibrate_is_kept(desk, tmp_path) -> None:
    shutil.copytree(desk / "tagger", tmp_path / "mine")
    wide = photo(tmp_path / "wide.png", size=(300, 40))
    asked = run("tag", tmp_path / "mine", wide, "--format", "jsonl", "--top", 3, "--view", "whole")
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    options = ("--captions", tmp_path / "captions.txt", "--view", "whole")
    assert run("calibrate", tmp_path / "mine", *options, "--dry-run")[0] == 0
    assert Tagger.load(tmp_path / "mine").preprocessing.view == "center"
    assert run("calibrate", tmp_path / "mine", *options)[0] == 0
    assert Tagger.load(tmp_path / "mine").preprocessing.view == "whole"
    kept = run("tag", tmp_path / "mine", wide, "--format", "jsonl", "--top", 3)
    scores = [
        {t["class"]: t["score"] for t in json.loads(out)["labels"]} for _, out, _ in (asked, kept)
    ]
    assert scores[0] == scores[1]
    arguments = ("--classes", "voc2007", "--backbone", "emoji_scenes", "--epochs", 1)
    assert run("fit", *arguments, "--view", "whole", "--out", tmp_path / "fitted")[0] == 0
    assert Tagger.load(tmp_path / "fitted").preprocessing.view == "whole"


def test_a_name_that_is_a_formula_is_text_and_known_again(desk, tmp_path, monkeypatch) -> None:
    path, out = tmp_path / "=1+1,x.png", tmp_path / "tags.csv"
    photo(path, seed=1)
    photo(tmp_path / "b.png", seed=2)
    arguments = ("--format", "csv", "--out", out, "--top", 1)
    names = ("=1+1,x.png", "b.png")
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--resume"]):
        code, _, said = run("tag", desk / "tagger", *names, *arguments, *more)
        assert code == 0, said
        rows = list(csv.reader(out.read_text().splitlines()))
        assert [row[0] for row in rows] == ["image", "'=1+1,x.png", "b.png"]


def test_names_from_a_list_and_what_was_left_aside(desk, tmp_path, monkeypatch) -> None:
    (tmp_path / "heap/.git").mkdir(parents=True)
    photo(tmp_path / "heap/a .png")
    photo(tmp_path / "heap/.git/b.png")
    (tmp_path / "heap/c.mov").write_text("film")
    (tmp_path / "d.png ").write_bytes((tmp_path / "heap/a .png").read_bytes())
    monkeypatch.chdir(tmp_path)
    code, out, err = run("tag", desk / "tagger", "--list", "-", "--json", stdin="heap\nd.png \n")
    assert code == 0
    assert [record["image"] for record in json.loads(out)] == ["heap/a .png", "d.png "]
    assert "left aside: 1 .mov (video: take frames out of it); folders .git" in err


@pytest.mark.parametrize("name", ["tags.xlsx", "tags"])
def test_an_ending_that_says_no_format_is_refused_before_any_work(name, desk, tmp_path) -> None:
    arguments = ("tag", tmp_path / "no tagger", desk / "photos", "--out", tmp_path / name)
    code, _, err = run(*arguments)
    assert code == 2
    assert "take one of .jsonl, .ndjson, .json, .csv, .parquet, .txt, or add --format table" in err
    arguments = ("tag", desk / "tagger", *arguments[2:], "--format", "csv", "--quiet")
    assert run(*arguments)[0] == 0
    assert (tmp_path / name).read_text().startswith("image,class,")
