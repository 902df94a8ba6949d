"""``tai-dpt cache``: what a run kept, and only that."""

from __future__ import annotations

import json
import os
import time

import pytest

from tai_dpt.cli.train import main

import worlds
from taggers import run


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TAI_DPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept():
    code, out, err = run("cache", "--json")
    assert code == 0, err
    return {entry["name"]: entry for entry in json.loads(out)}


def test_a_run_s_features_are_listed_and_removed(root, tmp_path) -> None:
    world = worlds.write_world(tmp_path)
    arguments = worlds.arguments(world, "TaIDPT", tmp_path / "run", "OPTIM.MAX_EPOCH", 1)
    arguments += ["FEATURES.CACHE", "disk"]
    assert main(arguments) == 0
    (root / "mine.txt").write_text("the user's own")
    (root / "mine").mkdir()
    (root / "mine/manifest.json").write_text('{"format": "something else"}')
    (root / "clip").mkdir()
    (root / "clip/RN50.pt").write_bytes(b"123")
    found = kept()
    assert [entry["kind"] for entry in found.values()].count("features") >= 2
    assert {entry["kind"] for entry in found.values()} == {
        *("features", "tokens", "labels", "weights")
    }
    (captions,) = [name for name in found if name.startswith("captions-")]
    about = found[captions]["about"]
    assert about.startswith("clip, 540 captions, “a dog") and "unfinished" not in about
    size = sum(file.stat().st_size for file in (root / captions).iterdir())
    assert found[captions]["bytes"] == size > 0
    _, out, _ = run("cache")
    assert captions in out and f" in {root}" in out

    code, _, err = run("cache", "--clear", captions)
    assert code == 0 and "removed 1 of 1" in err
    assert set(kept()) == set(found) - {captions}
    assert run("cache", "--clear")[0] == 0
    assert kept() == {}
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == [
        "manifest.json",
        "mine.txt",
    ]
    assert main(arguments) == 0, "all of it is made again"


def test_leftovers_of_killed_processes(root) -> None:
    root.mkdir()
    for name, age in ((".tokens-x.npz.0a.tmp", 100_000), (".tokens-y.npz.0b.tmp", 10)):
        (root / name).write_bytes(b"half")
        os.utime(root / name, (time.time() - age,) * 2)
    assert set(kept()) == {".tokens-x.npz.0a.tmp"}


def test_a_store_that_is_being_built_is_left_alone(root) -> None:
    from tai_dpt.io.lock import try_lock

    folder = root / "captions-0"
    folder.mkdir(parents=True)
    identity = {"key": {"kind": "captions", "backbone": "a" * 64}, "items": 3}
    manifest = {"format": "tai_dpt feature store 1", "identity": identity, "complete": False}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert kept()["captions-0"]["about"] == "backbone aaaaaaaaaaaa…, 3 captions (unfinished)"
    with (folder / "build.lock").open("ab") as stream:
        try_lock(stream)
        code, _, err = run("cache", "--clear")
    assert code == 0 and "captions-0 is being built: left alone" in err
    assert folder.exists()


def test_nothing_and_wrong_names(root) -> None:
    assert run("cache")[1] == f"nothing is kept in {root}\n"
    assert run("cache", "x")[0] == 2
    (root / "corpora").mkdir(parents=True)
    (root / "corpora/a.npz").write_bytes(b"")
    code, _, err = run("cache", "--clear", "corpora/b.npz")
    assert code == 2 and "corpora/a.npz" in err
    assert (root / "corpora/a.npz").exists()
