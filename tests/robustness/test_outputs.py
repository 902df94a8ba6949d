"""Outputs that cannot or must not be written: one line, before any work, and nothing destroyed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from desks import lay_out
from forked import Child, command, main, without_privileges
from PIL import Image

from tai_dpt.tags.sinks import FileSink

import worlds
from places import ROOT

WEIGHTS = ROOT / "data/emoji_scenes/clip.safetensors"
IMAGES = ROOT / "data/emoji_scenes/images/test"
SMALL = ["--backbone", WEIGHTS]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """What the commands read, each kind of file once."""
    lay_out(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path


def state(folder: Path) -> dict[str, str]:
    """Every file and what it holds, but for what the suite itself writes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("stdout", "stderr", "stdin")
    }


# with DESK for the folder above and OUT for the output
COMMANDS: dict[str, list[object]] = {
    "tag": ["tag", "DESK/tagger", "DESK/a.png", *SMALL, "--format", "csv", "--out", "OUT"],
    "adapt": ["adapt", "DESK/tagger", "DESK/a.png", *SMALL, "--out", "OUT"],
    "explain": ["explain", "DESK/tagger", "--text", "a dog", *SMALL, "--out", "OUT.png"],
    "export": ["export", "DESK/tagger", *SMALL, "--out", "OUT"],
    "label": ["label", "DESK/captions.txt", "--vocabulary", "DESK/classes.txt", "--out", "OUT"],
    "page": ["page", "DESK/run", "--per-class", 0, "--out", "OUT"],
    "report": ["report", "DESK/run", "--html", "OUT"],
    "fuse": ["fuse", "DESK/run", "DESK/run", "--out", "OUT"],
    "fuse --curve": ["fuse", "DESK/run", "DESK/run", "--curve", "OUT.png"],
    "rescore": ["rescore", "DESK/run", "--rectify", "softmax", "--sharpness", 1, "--out", "OUT"],
    "corpus": [
        *("corpus", "--captions", "DESK/captions.txt", "--vocabulary", "DESK/classes.txt"),
        *("--out", "OUT"),
    ],
    "fit": [
        *("fit", "--classes", "DESK/classes.txt", "--captions", "DESK/captions.txt", *SMALL),
        *("--out", "OUT"),
    ],
    "convert-weights": ["convert-weights", WEIGHTS, "OUT"],
    "grow-vocabulary": ["grow-vocabulary", "voc2007", "--out", "OUT"],
    "demo": ["demo", "--epochs", 1, "--out", "OUT"],
    "sweep": ["sweep", "table1", "emoji_scenes", "--out", "OUT"],
    "emoji-scenes": ["emoji-scenes", "build", "--scale", 0.01, "--out", "OUT"],
    "train": [
        *("train", "--trainer", "ZSCLIP", "--root", ROOT / "data", "--output-dir", "OUT"),
        *("--dataset-config-file", ROOT / "configs/datasets/emoji_scenes.yaml"),
        *("--config-file", ROOT / "configs/trainers/ZSCLIP/emoji_scenes.yaml"),
    ],
}
PLACES = {
    "below a file": "DESK/file/sub/out",
    "below /proc": "/proc/nope/out",
    "a name of 300 letters": "DESK/" + "x" * 300,
    "below a link to itself": "DESK/loop/out",
}


def filled(arguments: list[object], desk: Path, out: str) -> list[str]:
    return [str(a).replace("OUT", out).replace("DESK", str(desk)) for a in arguments]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", COMMANDS)
def test_where_nothing_can_be_written(name: str, place: str, desk: Path, note) -> None:
    before = state(desk)
    ended = command(filled(COMMANDS[name], desk, PLACES[place]), desk)
    note(ended)
    assert not ended.fault and ended.code in (1, 2)
    assert state(desk) == before


def test_a_name_too_long_for_what_is_kept_beside_it_is_told_before_work(desk: Path, note) -> None:
    ended = command(["tag", desk, desk / "a.png", "--out", desk / f"{'x' * 245}.csv"], desk)
    note(ended)
    assert ended.code == 2 and "too long" in ended.err and "--out" in ended.err


def test_a_tagger_that_cannot_be_written_is_told_before_images_are_looked_for(
    tmp_path: Path, note
) -> None:
    lay_out(tmp_path)
    (tmp_path / "tagger").chmod(0o555)

    def work() -> int:
        without_privileges()
        return main(["calibrate", tmp_path / "tagger", *SMALL, "--images", tmp_path / "none"])

    ended = Child(work, tmp_path).wait()
    note(ended)
    assert ended.code == 2 and "tagger.json: Permission denied" in ended.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, desk: Path, full_disk: Path, note) -> None:
    before = state(desk)
    ended = command(filled(COMMANDS[name], desk, str(full_disk / "out")), desk)
    note(ended)
    assert not ended.fault and ended.code in (1, 2) and "No space left" in ended.err
    assert state(desk) == before


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    disk = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk])
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with (disk / "all of it").open("wb", buffering=0) as stream, suppress(OSError):
            while True:
                stream.write(bytes(4096))
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


MIDST = {
    **{"export": 300, "label": 700, "page": 700, "grow-vocabulary": 700, "corpus": 4_000},
    **{"fuse": 2_500, "fuse --curve": 2_500, "explain": 700, "rescore": 2_500, "report": 2_000},
    **{"convert-weights": 700, "emoji-scenes": 3_000},
}  # bytes: less than the command writes, enough for what it says


@pytest.mark.parametrize(("name", "room"), MIDST.items())
def test_no_room_in_the_midst(name: str, room: int, desk: Path, note) -> None:
    """One line with the path, what was there as it was, nothing half-written; then it goes on."""
    before = state(desk)
    asked = filled(COMMANDS[name], desk, str(desk / "out"))
    ended = command(asked, desk, room=room)
    note(ended)
    if name == "grow-vocabulary" and "NLTK" in ended.err:
        pytest.skip("needs NLTK's data")
    assert not ended.fault and ended.code in (1, 2)
    assert "File too large" in ended.err and str(desk) in ended.err
    left = {key: value for key, value in state(desk).items() if key.split("/")[0] != "out"}
    assert left == before
    again = command(asked, desk)
    note(again)
    assert again.code == 0


INPUT_AS_OUTPUT: dict[str, list[object]] = {
    "export over its tagger": ["export", "DESK/tagger", *SMALL, "--out", "DESK/tagger"],
    "fuse over a run": ["fuse", "DESK/run", "DESK/run", "--out", "DESK/run"],
    "rescore over its run": [
        *("rescore", "DESK/run", "--rectify", "softmax", "--sharpness", 1, "--out", "DESK/run")
    ],
    "explain over the photo": [
        *("explain", "DESK/tagger", "DESK/a.png", *SMALL, "--out", "DESK/a.png")
    ],
    "label over the captions": [
        *("label", "DESK/captions.txt", "--vocabulary", "DESK/classes.txt"),
        *("--out", "DESK/captions.txt"),
    ],
    "page over the results": ["page", "DESK/run", "--out", "DESK/run/results.json"],
    "tag over the photo": ["tag", "DESK/tagger", "DESK/a.png", *SMALL, "--out", "DESK/a.png"],
    "convert over the weights": ["convert-weights", "DESK/a.png", "DESK/a.png"],
    "tag over the backbone": [
        *("tag", "DESK/tagger", "DESK/a.png", "--backbone", "DESK/file"),
        *("--format", "csv", "--out", "DESK/file"),
    ],
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", INPUT_AS_OUTPUT)
def test_an_input_is_never_the_output(name: str, overwrite: bool, desk: Path, note) -> None:
    before = state(desk)
    asked = filled(INPUT_AS_OUTPUT[name], desk, "")
    ended = command([*asked, *(["--overwrite"] if overwrite else [])], desk)
    note(ended)
    assert not ended.fault and ended.code == 2
    assert state(desk) == before


@pytest.mark.parametrize("name", ["tag", "export", "label"])
def test_no_device_is_replaced(name: str, desk: Path, note) -> None:
    """Whoever is root would replace /dev/null."""
    out = desk / "out"
    named = out
    if name == "export":
        out.mkdir()
        named = out / "service.json"
    os.mkfifo(named)
    ended = command([*filled(COMMANDS[name], desk, str(out)), "--overwrite"], desk)
    note(ended)
    assert not ended.fault and ended.code == 2 and f"{named} is a pipe" in ended.err
    assert named.is_fifo()


@pytest.mark.parametrize("name", ["tag", "label"])
def test_a_link_stays_one(name: str, desk: Path, note) -> None:
    (desk / "out").symlink_to(desk / "file")
    asked = filled(COMMANDS[name], desk, str(desk / "out"))
    refused = command(asked, desk)
    note(refused)
    assert refused.code == 2 and (desk / "file").read_text() == "mine"
    ended = command([*asked, "--overwrite"], desk)
    note(ended)
    assert ended.code == 0
    assert (desk / "out").is_symlink() and (desk / "file").read_text() != "mine"


@pytest.mark.parametrize("name", ["train", "fit", "fuse", "adapt"])
def test_where_names_are_no_text(name: str, tmp_path: Path, note) -> None:
    desk = worlds.write_world(tmp_path / os.fsdecode(b"caf\xe9"))
    lay_out(desk)
    shutil.copy(WEIGHTS, desk / "file")
    shutil.copytree(desk / "tiny/test", desk / "a.png")
    asked = filled(COMMANDS[name], desk, str(desk / "out"))
    if name == "train":
        asked = ["train", *worlds.arguments(desk, "TaIDPT", desk / "out")]
    if name == "fit":
        asked += ["--epochs", "1", "TRAINER.TAIDPT.N_CTX", "2"]
    ended = command([str(desk / "file") if word == str(WEIGHTS) else word for word in asked], desk)
    note(ended)
    assert ended.code == 0
    if name == "fit":
        again = command(["tag", desk / "out", desk / "a.png"], desk)
        note(again)
        assert again.code == 0


REPLACING = ("explain", "export", "label", "page", "report", "fuse", "corpus", "convert-weights")


@pytest.mark.parametrize("name", REPLACING)
def test_what_is_there_is_replaced_on_demand_only(name: str, desk: Path, note) -> None:
    asked = filled(COMMANDS[name], desk, str(desk / "out"))
    first = command(asked, desk)
    note(first)
    assert first.code == 0
    before = state(desk)
    again = command(asked, desk)
    note(again)
    assert not again.fault and again.code == 2 and "--overwrite" in again.err
    assert state(desk) == before
    replaced = command([*asked, "--overwrite"], desk)
    note(replaced)
    assert replaced.code == 0


def tagged(desk: Path, *more: object, tagger: str = "tagger") -> list[object]:
    return ["tag", desk / tagger, IMAGES, *SMALL, "--out", desk / "tags.csv", *more]


def test_tags_of_another_tagger_or_other_options_are_not_mixed(desk: Path, note) -> None:
    one = ["tag", desk / "tagger", desk / "a.png", *SMALL, "--out", desk / "tags.csv"]
    assert command([*one, "--top", 3], desk).code == 0
    before = state(desk)
    for more, message in ((["--top", 2], "--top 3"), (["--threshold", 0.5], "--top 3")):
        ended = command([*one, *more, "--resume"], desk)
        note(ended)
        assert ended.code == 2 and f"was written with {message}" in ended.err
    about = desk / "tagger/tagger.json"
    about.write_text(about.read_text().replace('"threshold": 0.', '"threshold": 0.0'))
    ended = command([*one, "--top", 3, "--resume"], desk)
    note(ended)
    assert ended.code == 2 and "another tagger" in ended.err
    assert {k: v for k, v in state(desk).items() if "tagger" not in k} == {
        k: v for k, v in before.items() if "tagger" not in k
    }


def test_tag_cut_short_and_resumed_writes_what_it_would_have(desk: Path, note) -> None:
    whole = desk / "whole.csv"
    at_once: list[object] = ["tag", desk / "tagger", IMAGES, *SMALL, "--out", whole]
    assert command(at_once, desk).code == 0
    again = tagged(desk, "--batch-size", 16, "--resume")
    full = command(again, desk, room=4_000)
    note(full)
    assert full.code == 1 and f"{desk / 'tags.csv.part'}: File too large" in full.err
    assert command(again, desk).code == 0
    assert (desk / "tags.csv").read_bytes() == whole.read_bytes()


def test_two_at_one_output(desk: Path, note) -> None:
    """The second is refused; the first ends as if it were alone."""
    (reading, writing), (waiting, letting) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading), os.close(letting)
        (desk / "first").mkdir()
        before = FileSink.flush

        def after_the_other(self: FileSink) -> None:
            before(self)
            (desk / "begun").touch()
            os.read(waiting, 1)  # until the other end is closed

        FileSink.flush = after_the_other  # type: ignore[method-assign]
        ended = command(tagged(desk, "--batch-size", 8), desk / "first")
        os.write(writing, bytes([ended.code & 255]))
        os._exit(0)
    os.close(writing), os.close(waiting)
    while not (desk / "begun").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.01)
    second = command(tagged(desk, "--overwrite"), desk)
    os.close(letting)
    note(second)
    assert second.code == 2 and "another process is writing" in second.err
    assert os.read(reading, 1) == b"\0"
    os.waitpid(child, 0)
    assert len((desk / "tags.csv").read_text().splitlines()) > 1


def test_the_suite_sees_a_hang(tmp_path: Path) -> None:
    """A check of the check: a reader of a pipe that nobody writes to is killed and told."""
    reading, writing = os.pipe()  # as the shell's <(…), of a program that says nothing
    try:
        words = ["label", f"/dev/fd/{reading}", "--vocabulary", "coco2014"]
        assert command(words, tmp_path, seconds=1).fault == "HANG"
    finally:
        os.close(reading)
        os.close(writing)
