"""A home that cannot be written, and no TAI_DPT_CACHE: commands do without, or name it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from tai_dpt.cli.train import main as train

import worlds
from places import TESTS
from taggers import CAPTIONS, CLASSES, OPTIONS, run, tagger_and_photos

WITHOUT = {
    "tag": "tag DESK/tagger DESK/photos",
    "calibrate": "calibrate DESK/tagger --images DESK/photos --dry-run",
    "explain": "explain DESK/tagger DESK/photos/0.png --out OUT.png",
    "adapt": "adapt DESK/tagger DESK/photos --out OUT",
    "export": "export DESK/tagger --out OUT",
    "label": "label DESK/captions.txt --classes DESK/classes.txt --out OUT",
    "corpus": "corpus --captions DESK/captions.txt --classes DESK/classes.txt --out OUT",
    "page": "page DESK/run --per-class 0 --out OUT",
    "cache": "cache --clear",
    "backbones": "backbones",
    "fit, nothing kept": "fit --classes DESK/classes.txt --captions DESK/captions.txt "
    f"--backbone DESK/tiny.safetensors --out OUT {' '.join(map(str, OPTIONS))}",
}
NAMING = {
    "fit": "fit --classes DESK/classes.txt --captions DESK/captions.txt "
    "--backbone DESK/tiny.safetensors --out OUT",
    "fit, published": "fit --classes DESK/classes.txt --captions DESK/captions.txt --out OUT "
    "FEATURES.CACHE memory",
    "demo": "demo --epochs 1 --out OUT",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tagger_and_photos(tmp_path_factory.mktemp("desk"), 10)
    shutil.copytree(TESTS / "reference/v0.1/run", folder / "run")
    results = json.loads((folder / "run/results.json").read_text())
    (folder / "run/results.json").write_text(json.dumps({**results, "images": 40}))
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    (folder / "captions.txt").write_text("\n".join(CAPTIONS))
    (folder / "file").write_text("")
    worlds.write_world(folder, images=2)
    return folder


@pytest.fixture(params=["below a file", "below /proc"], autouse=True)
def home(request, desk, monkeypatch):
    """A folder that cannot be made: permissions would not bind root."""
    if request.param == "below /proc" and sys.platform != "linux":
        pytest.skip("there is no /proc")
    folder = str(desk / "file/home") if request.param == "below a file" else "/proc/self/home"
    monkeypatch.setenv("HOME", folder)
    for name in ("TAI_DPT_CACHE", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")  # its place for caches is below home
    return folder


def words(line: str, desk, tmp_path) -> list[str]:
    line = line.replace("DESK", str(desk)).replace("OUT", str(tmp_path / "out"))
    return line.split()


@pytest.mark.parametrize("name", WITHOUT)
def test_what_keeps_nothing_works(name, desk, tmp_path) -> None:
    code, _, err = run(*words(WITHOUT[name], desk, tmp_path))
    assert code == 0, err


@pytest.mark.parametrize("name", NAMING)
def test_what_keeps_something_names_the_variable(name, home, desk, tmp_path) -> None:
    code, _, err = run(*words(NAMING[name], desk, tmp_path))
    assert code == 2
    last = err.splitlines()[-1]
    assert home in last and "set TAI_DPT_CACHE to a folder that can be written" in last
    assert not (tmp_path / "out").exists() or name == "demo"


def test_a_file_in_place_of_the_cache_is_told_before_any_work(
    desk, tmp_path, monkeypatch, capsys
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TAI_DPT_CACHE", str(tmp_path / "file"))
    argv = worlds.arguments(desk, "TaIDPT", tmp_path / "out", "FEATURES.CACHE", "auto")
    assert train(argv) == 2
    said = capsys.readouterr()
    assert "set TAI_DPT_CACHE to a folder" in said.err
    assert "Loading dataset" not in said.out and not (tmp_path / "out").exists()


def test_a_run_names_it_before_any_work(home, desk, tmp_path, capsys) -> None:
    argv = worlds.arguments(desk, "TaIDPT", tmp_path / "out", "FEATURES.CACHE", "auto")
    assert train(argv) == 2
    err = capsys.readouterr().err
    assert home in err and "set TAI_DPT_CACHE to a folder" in err
    assert err.count("\n") == 1 and not (tmp_path / "out").exists()
