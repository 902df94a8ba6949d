"""Every file that is read, where a file of its name is none: one line, at once, that names it."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from desks import lay_out
from forked import Child, command, main, without_privileges
from shell_pipes import handed_over, needs_pipes

import worlds
from places import ROOT

WEIGHTS = ROOT / "data/emoji_scenes/clip.safetensors"
SMALL = ["--backbone", WEIGHTS]
TAG = ["tag", "DESK/tagger", *SMALL]
TO_LABEL = ["label", "DESK/captions.txt", "--vocabulary"]

# what is read, with DESK for the folder below and BAD for the file
NAMED: dict[str, list[object]] = {
    **{
        f"captions{ending}": ["label", f"BAD{ending}", "--vocabulary", "coco2014"]
        for ending in (".txt", ".json", ".csv", ".txt.gz", ".parquet")
    },
    "captions of corpus": ["corpus", "--captions", "BAD", "--classes", "coco2014"],
    **{f"class list{ending}": [*TO_LABEL, f"BAD{ending}"] for ending in (".txt", ".yaml", ".csv")},
    "classes of fit": ["fit", "--classes", "BAD.txt", *SMALL, "--out", "DESK/out"],
    "recipe of fit": [
        *("fit", "--classes", "DESK/classes.txt", "--config", "BAD.yaml", *SMALL),
        *("--out", "DESK/out"),
    ],
    "backbone": ["tag", "DESK/tagger", "DESK/a.png", "--backbone", "BAD.pt"],
    "weights": ["convert-weights", "BAD.pt", "DESK/out.safetensors"],
    "image": [*TAG, "BAD.png"],
    "image to explain": ["explain", "DESK/tagger", "BAD.png", *SMALL, "--out", "DESK/out.png"],
    "tar": [*TAG, "BAD.tar"],
    "list": [*TAG, "--list", "BAD.txt"],
    "list.parquet": [*TAG, "--list", "BAD.parquet"],
    "file to go on with": [*TAG, "DESK/a.png", "--out", "BAD.csv", "--resume"],
    "label file": ["calibrate", "DESK/tagger", *SMALL, "--labelled", "BAD.csv"],
    "label file.jsonl": ["calibrate", "DESK/tagger", *SMALL, "--labelled", "BAD.jsonl"],
    "captions of calibrate": ["calibrate", "DESK/tagger", *SMALL, "--captions", "BAD.txt"],
    "class list to grow": ["grow-vocabulary", "BAD.txt", "--out", "DESK/out.yaml"],
    "sources": ["get-data", "voc2007", "--root", "DESK", "--dry-run", "--sources", "BAD.yaml"],
    "config to check": ["check-data", "--root", "DESK", "--dataset-config-file", "BAD.yaml"],
    "a run's scores": ["fuse", "BAD.npz", "DESK/run"],
}
# files that are looked for by their names
PARTS: dict[str, tuple[str, list[object]]] = {
    **{
        f"tagger's {name}": (f"tagger/{name}", [*TAG, "DESK/a.png"])
        for name in ("tagger.json", "class_embeddings.safetensors")
    },
    "a run's results": ("run/results.json", ["page", "DESK/run", "--out", "DESK/out.html"]),
    "a run's curves": ("run/history.jsonl", ["page", "DESK/run", "--out", "DESK/out.html"]),
    "part of tags": ("tags-0-of-2.csv", ["merge-tags", "DESK/tags.csv"]),
}
OPTIONS = {
    "CORPUS.FILES": "['BAD.txt']",
    "VOCABULARY": "BAD.yaml",
    "COCO.TEST": "['BAD.json', 'tiny/test']",
    "PARTIAL.MASK": "BAD.npz",
}
FLAGS = ("--config-file", "--dataset-config-file", "--backbone")

KINDS = ("a pipe", "closed")
MORE_KINDS = ("a socket", "a device", "a folder", "a link to nothing", "missing")  # of the door


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = worlds.write_world(tmp_path_factory.mktemp("inputs"))
    lay_out(folder)
    (folder / "tags-1-of-2.csv").write_text("image,class,probability,score\n")
    shutil.copy(folder / "tiny/test/000000.png", folder / "a.png")
    return folder


def put(kind: str, path: Path) -> None:
    """Something of a kind where a file should be."""
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's address is short
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(path.name)
        os.chdir(here)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "closed":
        path.write_text("dog\n")
        path.chmod(0)
    elif kind == "a link to nothing":
        path.symlink_to(path.parent / "nowhere")


def refused(words: list[object], kind: str, path: Path, desk: Path, note: Any) -> None:
    filled = [str(word).replace("DESK", str(desk)) for word in words]
    kept = path.rename(desk / "kept") if path.exists() else None
    before = set(desk.iterdir())
    put(kind, path)

    def work() -> int:
        if kind == "closed":
            without_privileges()
        return main(filled)

    try:
        ended = Child(work, desk).wait(seconds=30)
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        if kept is not None:
            kept.rename(path)
    note(ended)
    assert not ended.fault and ended.code == (3 if "could not be read" in ended.err else 2)
    assert path.name in ended.err
    assert {p for p in desk.iterdir() if p.name not in ("stdout", "stderr", "stdin")} <= before


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_what_else_may_be_there(kind: str, desk: Path, note) -> None:
    path = desk / "BAD.txt"
    refused(["label", path, "--vocabulary", "coco2014"], kind, path, desk, note)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_and_no_file(name: str, kind: str, desk: Path, note) -> None:
    bad = next(str(word) for word in NAMED[name] if str(word).startswith("BAD"))
    path = desk / bad
    words = [str(path) if word == bad else word for word in NAMED[name]]
    refused(words, kind, path, desk, note)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_no_file(name: str, kind: str, desk: Path, note) -> None:
    refused(PARTS[name][1], kind, desk / PARTS[name][0], desk, note)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*OPTIONS, *FLAGS])
def test_what_a_run_is_told_to_read(name: str, kind: str, desk: Path, note) -> None:
    given = OPTIONS.get(name, "BAD.yaml")
    path = desk / ("BAD" + "".join(Path(given.strip("[]'").split("'")[0]).suffixes))
    trainer = "DualCoOp" if name == "PARTIAL.MASK" else "TaIDPT"
    words = worlds.arguments(desk, trainer, desk / "out")
    if name in FLAGS:
        words[words.index("TEST.EVALUATOR") : 0] = [name, str(path)]  # flags go first
    else:
        words += [f"DATASET.{name}", given.replace("BAD", str(desk / "BAD"))]
    refused(["train", *words], kind, path, desk, note)


@needs_pipes
def test_a_pipe_of_the_shell_where_it_would_be_read_twice(desk: Path, note) -> None:
    words = [str(word).replace("DESK", str(desk)) for word in TO_LABEL]
    with handed_over("dog\n") as pipe:
        ended = command([*words, pipe], desk)
    note(ended)
    assert ended.code == 2 and f"{pipe} is a pipe" in ended.err
