"""``kill -9`` at random moments, and files that can grow no more: the same command goes on.

What comes out in the end is bit for bit what it would have been. One seed here; of more:
``bash scripts/robustness.sh --faults 20``.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from forked import Child, become, command, main

from tai_dpt.features import FeatureStore, PackedFeatures, StoreOptions, StorePlan

import worlds
from places import ROOT, TESTS

ASKED = os.environ.get("TAI_DPT_FAULT_SEEDS")
SEEDS = range(int(ASKED or 1))
EPOCHS = 4
KILLS = 2
KINDS = ["TaIDPT", "DualCoOp", "fit", "tag"]
if ASKED:
    KINDS += ["MLCoOp", "CoMC", "TaIDPTEnsemble", "ZSCLIP", "Concepts", "SPARC", "PIAA"]
    KINDS += ["DualPrompt"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.write_world(tmp_path_factory.mktemp("world"), images=24)


def training(world: Path, trainer: str, out: Path) -> list[object]:
    small = [(f"TRAINER.{name}.N_CTX", 2) for name in ("TAIDPT", "DUALCOOP", "MLCOOP")]
    return [
        *("train", *worlds.arguments(world, trainer, out), "OPTIM.MAX_EPOCH", EPOCHS),
        *("FEATURES.CACHE", "disk", "FEATURES.DIR", f"{out}-features"),
        *(part for pair in small for part in pair),
    ]


def fusing(world: Path, out: Path) -> list[object]:
    options = [*worlds.arguments(world, "TaIDPTEnsemble", out), "OPTIM.MAX_EPOCH", 1]
    for role, trainer in (("TEXT", "TaIDPT"), ("IMAGE", "DualCoOp")):
        config = world / f"{role}.yaml"
        config.write_text(f"TRAINER: {{{trainer.upper()}: {{N_CTX: 2}}}}\nOPTIM: {{MAX_EPOCH: 2}}")
        options += [f"TRAINER.TAIDPTENSEMBLE.{role}_CONFIG", config]
    return ["train", *options]


def what_is_left(out: Path) -> dict[str, object]:
    """Prompts, momentum and schedule; scores; all that a tagger consists of."""
    found: dict[str, object] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: arrays[key] for key in arrays.files}
        elif path.name == f"model.pth.tar-{EPOCHS}":
            checkpoint = torch.load(path, weights_only=True)
            found[name] = [checkpoint[key] for key in ("state_dict", "optimizer", "scheduler")]
        elif path.suffix in (".safetensors", ".csv") or path.name == "tagger.json":
            found[name] = path.read_bytes()
    assert found
    return found


def assert_same(one: object, two: object, where: str = "") -> None:
    if isinstance(one, dict):
        assert isinstance(two, dict) and one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert isinstance(two, list | tuple) and len(one) == len(two), where
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    elif isinstance(one, torch.Tensor | np.ndarray):
        assert np.array_equal(np.asarray(one), np.asarray(two)), where
    else:
        assert one == two, where


def asked(what: str, world: Path, out: Path) -> list[object]:
    if what == "TaIDPTEnsemble":
        return fusing(world, out)
    if what == "fit":
        (world / "classes.txt").write_text("dog\ncar\ntraffic light\n")
        (world / "captions.txt").write_text("a dog and a car\na traffic light\na dog\n" * 40)
        learning = ("--captions", world / "captions.txt", "--epochs", 2)
        small = ("TRAINER.TAIDPT.N_CTX", 2, "FEATURES.CACHE", "disk")
        return [
            *("fit", "--classes", world / "classes.txt", *learning, "--out", out),
            *("--backbone", world / "tiny/clip.safetensors", "--overwrite"),
            *(*small, "FEATURES.DIR", f"{out}-features"),
        ]
    if what == "tag":
        images = ROOT / "data/emoji_scenes/images/test"
        small = ("--batch-size", 16, "--backbone", "emoji_scenes")
        return [
            *("tag", TESTS / "reference/tour_tagger", images, *small),
            *("--out", out / "tags.csv", "--resume"),
        ]
    return training(world, what, out)


class Whole(NamedTuple):
    """What comes out where nothing is killed."""

    desk: Path  # work here: results and masks name their folder
    found: dict[str, object]
    took: float  # seconds


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    @cache
    def made(what: str) -> Whole:
        desk = tmp_path_factory.mktemp(what)
        start = time.monotonic()
        ended = command(asked(what, world, desk / "out"), desk)
        took = time.monotonic() - start
        assert ended.code == 0, ended.err
        return Whole(desk, what_is_left(desk / "out"), took)

    return made


def anew(desk: Path) -> Path:
    for path in desk.glob("out*"):
        shutil.rmtree(path)
    return desk / "out"


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_moment(
    what: str, seed: int, world: Path, whole: Callable[[str], Whole], note, kills
) -> None:
    desk, found, took = whole(what)
    out = anew(desk)
    generator = np.random.default_rng(seed)
    killed = 0
    for _ in range(KILLS):
        moment = generator.uniform(0.05, 0.8) * took
        killed += command(asked(what, world, out), desk, seconds=moment).code == -1
    kills(what, killed)
    ended = command(asked(what, world, out), desk)
    note(ended)
    assert ended.code == 0
    assert_same(found, what_is_left(out))


# -- sweeps --------------------------------------------------------------------------------------


class ForkedRun:
    """A run of a sweep, as ``subprocess.Popen`` starts it, but in a fork of the sweep.

    The first one is killed after ``kill_after`` seconds, if it lives so long.
    """

    kill_after: float | None = None

    def __init__(
        self, words: Sequence[str], *, stdout: Any, env: Any, pass_fds: Any, **_: Any
    ) -> None:
        self.returncode: int | None = None
        self.end = None if self.kill_after is None else time.monotonic() + self.kill_after
        type(self).kill_after = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.environ.update(env)
            _close_locks_but(pass_fds)
            become(lambda: main(words[3:]), [0, stdout.fileno(), stdout.fileno()])

    def poll(self) -> int | None:
        if self.end is not None and time.monotonic() > self.end:
            os.kill(self.pid, signal.SIGKILL)
            self.end = None
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode


def _close_locks_but(kept: Sequence[int]) -> None:
    """As starting a program would: of two runs at once neither holds the other's lock."""
    for number in range(3, 256):
        with suppress(OSError):
            if number not in kept and os.readlink(f"/proc/self/fd/{number}").endswith("/.lock"):
                os.close(number)


@pytest.fixture(scope="module")
def sweep_world(world: Path) -> Path:
    """The tiny world where the small one that ships would be."""
    tiny, home = world / "tiny", world / "emoji_scenes"
    for folder in ("annotations", "images"):
        (home / folder).mkdir(parents=True)
    for split in ("train", "val", "test"):
        (home / f"images/{split}").symlink_to(tiny / split)
        name = f"instances_{split}.json"
        (home / f"annotations/{name}").symlink_to(tiny / name)
    (home / "annotations/captions_train.json").symlink_to(tiny / "captions.json")
    for name in ("classes.yaml", "clip.safetensors"):
        (home / name).symlink_to(tiny / name)
    return world


def sweeping(world: Path, out: Path, kill_after: float | None = None) -> Callable[[], int]:
    options = {
        **{"INPUT.SIZE": "(64,64)", "DATALOADER.NUM_WORKERS": 0, "OPTIM.MAX_EPOCH": EPOCHS},
        **{"FEATURES.CACHE": "disk", "FEATURES.DIR": f"{out}-features"},
    }
    words = [part for pair in options.items() for part in pair]
    asked = ["sweep", "table1", "emoji_scenes", "--data", world, "--seeds", 1, "--jobs", 2]

    def work() -> int:
        from tai_dpt.sweeps import driver

        ForkedRun.kill_after = kill_after
        real = driver.subprocess
        driver.subprocess = SimpleNamespace(  # type: ignore[assignment]
            Popen=ForkedRun, DEVNULL=real.DEVNULL, STDOUT=real.STDOUT
        )
        return main([*asked, "--out", out, *words])

    return work


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_sweep(seed: int, sweep_world: Path, whole_sweep: Whole, note, kills) -> None:
    """The sweep itself is killed, then a run of it; in between, what runs on is waited for."""
    desk, found, took = whole_sweep
    out = anew(desk)
    generator = np.random.default_rng(seed)
    moments = generator.uniform(0.05, 0.8, KILLS) * took
    first = Child(sweeping(sweep_world, out), desk).wait(moments[0])
    second = Child(sweeping(sweep_world, out, kill_after=moments[1]), desk).wait()
    note(second)
    assert second.code == 0 or (second.code == 1 and "ended by SIGKILL" in second.err)
    kills("sweep", (first.code == -1) + second.code)
    ended = Child(sweeping(sweep_world, out), desk).wait()
    note(ended)
    assert ended.code == 0
    assert_same(found, {**what_is_left(out), "table": ended.out})


@pytest.fixture(scope="module")
def whole_sweep(sweep_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    desk = tmp_path_factory.mktemp("sweep")
    start = time.monotonic()
    ended = Child(sweeping(sweep_world, desk / "out"), desk).wait()
    assert ended.code == 0, ended.err
    found = {**what_is_left(desk / "out"), "table": ended.out}
    return Whole(desk, found, time.monotonic() - start)


# -- stores --------------------------------------------------------------------------------------

ITEMS = 400


def building(folder: Path, pause: float = 0.001) -> Callable[[], int]:
    """Builds a store of 40 shards, with a pause for each batch of ten items."""

    def encode(items: list[int]) -> PackedFeatures:
        time.sleep(pause)
        lengths = torch.tensor([1 + i % 3 for i in items])
        angles = torch.tensor(items).repeat_interleave(lengths) / ITEMS
        rows = torch.stack([angles.cos(), angles.sin()], dim=1)
        return PackedFeatures(rows[lengths.cumsum(0) - 1], rows, lengths)

    def work() -> int:
        StorePlan(
            key={"weights": "abc"},
            count=ITEMS,
            embed_dim=2,
            encode=encode,
            lengths=[1 + i % 3 for i in range(ITEMS)],
            global_is_last=True,
            options=StoreOptions(directory=folder, shard_bytes=80, batch_items=10, progress=None),
        ).open()
        return 0

    return work


def stored(folder: Path) -> dict[str, object]:
    assert not list(folder.rglob("*.tmp"))
    store = FeatureStore.open(folder)
    packed = store.packed(range(ITEMS))
    return {"local": packed.local, "global": packed.global_, "lengths": packed.lengths}


@pytest.mark.parametrize("builders", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_whose_builder_was_killed(
    seed: int, builders: int, tmp_path: Path, note, kills
) -> None:
    """What is there is kept, also by a second builder that waited for the first."""
    start = time.monotonic()
    assert Child(building(tmp_path / "whole"), tmp_path).wait().code == 0
    took = time.monotonic() - start
    generator = np.random.default_rng(seed)
    folder, killed = tmp_path / "store", 0
    for _ in range(KILLS):
        desks = [tmp_path / str(number) for number in range(builders)]
        for desk in desks:
            desk.mkdir(exist_ok=True)
        first, *others = [Child(building(folder), desk) for desk in desks]
        killed += first.wait(generator.uniform(0.05, 0.8) * took).code == -1
        for other in others:
            ended = other.wait()
            note(ended)
            assert ended.code == 0
    kills(f"store, {builders} building", killed)
    ended = Child(building(folder), tmp_path).wait()
    note(ended)
    assert ended.code == 0
    assert_same(stored(tmp_path / "whole"), stored(folder))


# -- full disks ----------------------------------------------------------------------------------

FILLS = [("TaIDPT", 2_000), ("TaIDPT", 9_000), ("DualCoOp", 12_000), ("fit", 2_000)]


@pytest.mark.parametrize(("what", "room"), FILLS)
def test_no_room_in_the_midst(what: str, room: int, world: Path, tmp_path: Path, note) -> None:
    out = tmp_path / "out"
    ended = command(asked(what, world, out), tmp_path, room=room)
    note(ended)
    assert not ended.fault and ended.code in (1, 2)
    assert "File too large" in ended.err and str(tmp_path) in ended.err
    assert not list(tmp_path.rglob("*.tmp"))
    ended = command(asked(what, world, out), tmp_path)
    note(ended)
    assert ended.code == 0
