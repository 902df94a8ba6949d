"""Building the feature store when things go wrong: kills, damage, full disks, other keys."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from tai_dpt.errors import InputError
from tai_dpt.features import progress
from tai_dpt.features.build import StorePlan, check_stores
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.packed import PackedFeatures
from tai_dpt.features.shards import KeyValue
from tai_dpt.features.store import FeatureStore
from tai_dpt.io import lock
from tai_dpt.io.atomic import atomic_write

from places import TESTS

COUNT, LENGTH, WIDTH = 12, 3, 4
SHARD = 2 * LENGTH * WIDTH * 4  # two items
KEY: dict[str, KeyValue] = {"weights": "abc", "texts": "def", "size": 224}


class Encoder:
    """Item i has its own fixed rows; remembers what it was asked for."""

    def __init__(self, after: float = 0.0) -> None:
        self.asked: list[int] = []
        self.after = after

    def __call__(self, indices: list[int]) -> PackedFeatures:
        self.asked += indices
        time.sleep(self.after)
        angle = torch.tensor(indices).repeat_interleave(LENGTH) * 0.1
        rows = torch.stack([angle.cos(), angle.sin(), 0 * angle, 0 * angle], dim=1)
        lengths = torch.full((len(indices),), LENGTH)
        return PackedFeatures(rows[LENGTH - 1 :: LENGTH], rows, lengths)


def build(encode: Encoder, **options: object) -> FeatureStore:
    return planned(encode, **options).open()


def planned(encode: Encoder, **options: object) -> StorePlan:
    chosen: dict[str, object] = {
        "key": KEY,
        "count": COUNT,
        "embed_dim": WIDTH,
        "encode": encode,
        "lengths": LENGTH,
        "global_is_last": True,
        "precision": "fp32",
        "shard_bytes": SHARD,
        "batch_items": 1,
        "progress": None,
    }
    how = {field.name for field in fields(StoreOptions)}
    given = {**chosen, **options}
    kept = StoreOptions(**{k: v for k, v in given.items() if k in how})  # type: ignore[arg-type]
    what = {k: v for k, v in given.items() if k not in how}
    return StorePlan(**what, options=kept)  # type: ignore[arg-type]


def assert_whole(store: FeatureStore) -> None:
    expected = Encoder()(list(range(COUNT)))
    assert torch.equal(store.packed(range(COUNT)).local, expected.local)


def shards_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("shard-*.safetensors"))


# A builder in its own process: `python - FOLDER SECONDS_PER_ITEM` prints how many it encoded.
BUILDER = f"""
import sys
sys.path[:0] = [{str(TESTS / "support")!r}, {str(Path(__file__).parent)!r}]
import torch
torch.set_num_threads(1)
from test_feature_store_build import Encoder, assert_whole, build
encode = Encoder(float(sys.argv[2]))
assert_whole(build(encode, directory=sys.argv[1]))
print(len(encode.asked))
"""


def start_builder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the builder ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    process = start_builder(tmp_path, 0.1)
    wait_for(lambda: len(shards_of(tmp_path)) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = shards_of(tmp_path)
    assert 2 <= len(finished) < COUNT // 2
    leftover = tmp_path / ".shard-00005.safetensors.half.tmp"  # as a kill while writing leaves it
    leftover.write_bytes(b"half")

    with pytest.raises(InputError, match=r"shard-0000\d\.safetensors: it is missing"):
        FeatureStore.open(tmp_path)
    encode = Encoder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # going on is no damage
        assert_whole(build(encode, directory=tmp_path))
    assert len(encode.asked) == COUNT - 2 * len(finished)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("when", ["record", "rename", "manifest", "complete"])
def test_a_kill_while_writing_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Killed(BaseException):
        pass

    names = {
        "manifest": "manifest.json",
        "record": "shard-00002.safetensors",
        "rename": "shard-00002.safetensors",
        "complete": "manifest.json",  # all is there, and is to be marked so
    }
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        if when == "record" and len(shards_of(tmp_path)) == 2:
            raise Killed
        real_fsync(handle)

    def replace(source: str, target: Path) -> None:
        whole = len(shards_of(tmp_path)) == COUNT // 2
        if when != "record" and Path(target).name == names[when] and whole == (when == "complete"):
            raise Killed
        real_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", replace)
        patch.setattr(os, "unlink", lambda path: None)  # a killed process tidies nothing
        with pytest.raises(Killed):
            build(Encoder(), directory=tmp_path)
    assert list(tmp_path.glob(".*.tmp"))
    encode = Encoder()
    assert_whole(build(encode, directory=tmp_path))
    assert len(encode.asked) == {"manifest": COUNT, "complete": 0}.get(when, COUNT - 4)
    assert not list(tmp_path.glob(".*.tmp"))


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def break_record(path: Path) -> None:
    path.write_bytes(b"?" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_last_byte, "its checksum is wrong"),
        (cut, "it is damaged"),
        (break_record, "it is damaged"),
        (Path.unlink, "it is missing"),
        (
            lambda path: shutil.copy(path.with_name("shard-00001.safetensors"), path),
            "another store",
        ),
    ],
)
def test_damaged_shard_is_named_and_made_again(tmp_path: Path, damage, reason: str) -> None:
    build(Encoder(), directory=tmp_path)
    damage(tmp_path / "shard-00003.safetensors")
    with pytest.raises(
        InputError, match=f"shard-00003.safetensors: .*{reason}.*; build the store again"
    ):
        FeatureStore.open(tmp_path)
    encode = Encoder()
    with pytest.warns(UserWarning, match=f"shard-00003.safetensors: .*{reason}.*; making it again"):
        store = build(encode, directory=tmp_path)
    assert_whole(store)
    assert sorted(encode.asked) == [6, 7]


def test_damage_that_keeps_size_and_time_is_found_on_request(tmp_path: Path) -> None:
    build(Encoder(), directory=tmp_path)
    shard = tmp_path / "shard-00003.safetensors"
    times = shard.stat().st_atime_ns, shard.stat().st_mtime_ns
    flip_last_byte(shard)
    os.utime(shard, ns=times)
    encode = Encoder()
    build(encode, directory=tmp_path)
    assert encode.asked == [], "a store nobody touched is not read through at every opening"
    with pytest.raises(InputError, match="checksum is wrong"):
        FeatureStore.open(tmp_path, verify=True)
    with pytest.warns(UserWarning, match=r"shard-00003.safetensors: its checksum is wrong"):
        assert_whole(build(encode, directory=tmp_path, verify=True))


def test_a_copied_store_is_checked_once(tmp_path: Path) -> None:
    build(Encoder(), directory=tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    assert_whole(FeatureStore.open(tmp_path / "there"))
    for name in shards_of(tmp_path / "here"):
        original, copy = (tmp_path / folder / name for folder in ("here", "there"))
        assert original.stat().st_mtime_ns == copy.stat().st_mtime_ns


@pytest.mark.parametrize("name", ["manifest.json", "lengths.npy"])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_damaged_manifest_is_written_again_and_shards_are_kept(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    ragged = [LENGTH] * (COUNT - 1) + [LENGTH + 1]

    def encode_ragged(indices: list[int]) -> PackedFeatures:
        asked.extend(indices)
        lengths = torch.tensor([ragged[i] for i in indices])
        rows = torch.eye(WIDTH)[:1].expand(int(lengths.sum()), WIDTH)
        return PackedFeatures(rows[: len(indices)], rows, lengths)

    asked: list[int] = []
    build(encode_ragged, lengths=ragged, directory=tmp_path)  # type: ignore[arg-type]
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"(manifest\.json|lengths\.npy)\b"):
        FeatureStore.open(tmp_path)
    asked.clear()
    if (name, content) == ("manifest.json", None):
        store = build(encode_ragged, lengths=ragged, directory=tmp_path)  # type: ignore[arg-type]
    else:
        with pytest.warns(UserWarning, match="writing it again"):
            store = build(encode_ragged, lengths=ragged, directory=tmp_path)  # type: ignore[arg-type]
    assert asked == []
    assert store.lengths.tolist() == ragged


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"key": {**KEY, "weights": "xyz"}}, "key 'weights' is 'abc' there, 'xyz' here"),
        (
            {"key": {"weights": "abc", "texts": "def"}},
            r"key 'size' is 224 there, '\(absent\)' here",
        ),
        ({"precision": "fp16"}, "precision is 'fp32' there, 'fp16' here"),
        ({"count": COUNT - 1}, "items is 12 there, 11 here"),
        ({"lengths": 4}, "lengths is 3 there, 4 here"),
        ({"global_is_last": False}, "global is 'last local' there, 'own' here"),
    ],
)
def test_a_store_of_other_features_is_refused(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    build(Encoder(), directory=tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        build(Encoder(), directory=tmp_path, **changed)
    assert str(caught.value).count(" there, ") == 1, "entries that agree are not listed"
    assert "\n" not in str(caught.value)
    assert_whole(FeatureStore.open(tmp_path, key=KEY))


def test_every_key_has_its_own_folder_in_a_root(tmp_path: Path) -> None:
    first = build(Encoder(), root=tmp_path, name="captions")
    other = build(Encoder(), root=tmp_path, name="captions", key={**KEY, "weights": "xyz"})
    assert first.directory is not None and first.directory != other.directory
    assert first.directory.parent == tmp_path and first.directory.name.startswith("captions-")
    encode = Encoder()
    reordered = dict(reversed(KEY.items()))
    assert build(encode, root=tmp_path, name="captions", key=reordered).directory == first.directory
    assert encode.asked == []
    manifest = json.loads((first.directory / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["identity"]["key"] == KEY
    with pytest.raises(InputError, match="key 'weights' is 'abc' there, 'q' here"):
        FeatureStore.open(first.directory, key={**KEY, "weights": "q"})


def test_two_processes_build_one_store_once(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    processes = [start_builder(folder, 0.05) for _ in range(2)]
    counts = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(counts) == [0, COUNT]
    assert_whole(FeatureStore.open(folder, verify=True))


def test_a_waiting_process_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    first = start_builder(tmp_path, 0.2)
    wait_for(lambda: shards_of(tmp_path), first)
    lines: list[str] = []
    encode = Encoder()
    second = threading.Thread(
        target=build, args=(encode,), kwargs={"directory": tmp_path, "progress": lines.append}
    )
    second.start()
    wait_for(lambda: any("another process is building" in line for line in lines), first)
    first.kill()
    first.wait()
    second.join(timeout=120)
    assert not second.is_alive()
    assert 0 < len(encode.asked) < COUNT
    assert_whole(FeatureStore.open(tmp_path))


def test_without_locks_a_store_is_built_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "lock_descriptor", no_locks)
    with lock.locked(tmp_path, 0, 1, lambda: None) as held:
        assert not held
    assert_whole(build(Encoder(), directory=tmp_path))


def test_ranks_build_their_shards_of_one_store(tmp_path: Path) -> None:
    barrier = threading.Barrier(3)
    encoders = [Encoder() for _ in range(3)]
    stores: dict[int, FeatureStore] = {}

    def run(rank: int) -> None:
        stores[rank] = build(
            encoders[rank], directory=tmp_path, shards=(rank, 3), barrier=barrier.wait
        )

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert sorted(stores) == [0, 1, 2]
    assert [sorted(e.asked) for e in encoders] == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    for store in stores.values():
        assert_whole(store)
    with pytest.raises(InputError, match="needs a barrier"):
        build(Encoder(), directory=tmp_path, shards=(0, 2))
    with pytest.raises(InputError, match=r"rank must lie in 0 … 1"):
        build(Encoder(), directory=tmp_path, shards=(2, 2))


def test_a_rank_that_failed_is_missed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shard-00001.safetensors: it is missing, and 2 more"):
        build(Encoder(), directory=tmp_path, shards=(0, 2), barrier=lambda: None)
    assert_whole(build(Encoder(), directory=tmp_path, shards=(1, 2), barrier=lambda: None))


def test_full_disk_is_said_and_finished_shards_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def full(handle: int) -> None:
        if len(shards_of(tmp_path)) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"the disk is full; 4 of 6 shards were made and stay"):
            build(Encoder(), directory=tmp_path)
    assert not list(tmp_path.glob(".*.tmp"))
    encode = Encoder()
    assert_whole(build(encode, directory=tmp_path))
    assert sorted(encode.asked) == [8, 9, 10, 11]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write the feature store .*file.* TAI_DPT_CACHE"):
        build(Encoder(), directory=tmp_path / "file" / "store")


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_size_limit_is_checked_before_any_work(tmp_path: Path, cache: str) -> None:
    encode = Encoder()
    folder = tmp_path / "store" if cache == "disk" else None
    with pytest.raises(InputError, match=r"captions: the store takes 576 bytes, over the limit of"):
        build(encode, cache=cache, directory=folder, max_bytes=575, name="captions")
    assert encode.asked == [] and not (tmp_path / "store").exists()
    build(encode, cache=cache, directory=folder, max_bytes=576)


def test_too_little_free_space_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=575))
    encode = Encoder()
    with pytest.raises(InputError, match=r"576 bytes to write in .*, where 575 bytes are free"):
        build(encode, directory=tmp_path / "store")
    assert encode.asked == [] and not (tmp_path / "store").exists()


def test_stores_of_one_run_are_weighed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, free = shutil.disk_usage(tmp_path), 2 * 576 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free))
    encode, lines = Encoder(), []

    def plans(*more: dict[str, object]) -> list[StorePlan]:
        given: list[dict[str, object]] = [{"name": "captions"}, {"name": "images"}, *more]
        return [
            planned(encode, **{"root": tmp_path, "cache": "auto", "progress": lines.append, **how})
            for how in given
        ]

    with pytest.raises(InputError) as refused:
        check_stores(plans())
    assert "features (captions 576 bytes, images 576 bytes): 1.15 kB to write" in str(refused.value)
    assert "FEATURES.CACHE memory" in str(refused.value)
    assert encode.asked == [] and not list(tmp_path.iterdir())

    first, second, again = plans({"name": "captions"})
    first.open()
    check_stores([first, second, again])  # what is there is not to be written
    free = 2 * 576
    once = plans({"name": "test", "read_once": True})
    check_stores(once)
    assert isinstance(once[2].open(), FeatureStore)  # it takes what the others leave
    free = 576 + 100
    once = plans({"name": "other", "read_once": True})
    check_stores(once)
    for plan in once:
        plan.open()
    assert not list(tmp_path.glob("other-*"))
    assert lines[-1].startswith("other: 576 bytes to write in ")
    assert "where 100 bytes are free; they are read once: encoded then" in lines[-1]


def test_what_is_read_once_and_does_not_fit_is_encoded_as_it_is_read(tmp_path: Path) -> None:
    encode, lines = Encoder(), []
    options = {"directory": tmp_path / "store", "cache": "auto", "progress": lines.append}
    with pytest.raises(InputError, match="over the limit"):
        build(encode, **options, max_bytes=575)
    streamed = build(encode, **options, max_bytes=575, read_once=True)
    assert not (tmp_path / "store").exists() and encode.asked == []
    assert "over the limit" in lines[-1] and lines[-1].endswith("encoded then, and not kept")
    kept = build(encode, **options, read_once=True)
    items = list(range(len(kept)))
    torch.testing.assert_close(streamed.packed(items).local, kept.packed(items).local)
    asked = len(encode.asked)
    build(encode, **options, max_bytes=575, read_once=True)  # it is there: whatever its size
    assert len(encode.asked) == asked


def test_size_rate_and_time_left_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.Progress, "interval", 0.0)
    lines: list[str] = []
    encode = Encoder()

    def report(line: str) -> None:
        lines.append(f"{len(encode.asked)} {line}")

    build(encode, directory=tmp_path, name="captions", progress=report)
    assert lines[0].startswith("0 captions: store of 12 items, 576 bytes in 6 shards")
    assert "to make here: 6 shards, 576 bytes" in lines[0]
    assert "captions: 6 of 12 (50%)," in lines[6]
    assert "per second" in lines[6] and lines[6].endswith("left")
    assert "12 encoded in" in lines[-1]
    lines.clear()
    build(encode, directory=tmp_path, name="captions", progress=report)
    assert lines == [f"12 captions: 12 items found in {tmp_path}"]


def test_numbers_for_people() -> None:
    assert [progress.format_bytes(n) for n in (12, 1500, 2_500_000, 3_146_776_576)] == [
        "12 bytes",
        "1.50 kB",
        "2.50 MB",
        "3.15 GB",
    ]
    assert [progress.format_seconds(s) for s in (4.25, 75.3, 3675)] == ["4.2 s", "1:15", "1:01:15"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: PackedFeatures(f.global_ * 2, f.local * 2, f.lengths), "norm 2, not 1"),
        (lambda f: PackedFeatures(f.global_, f.local * float("nan"), f.lengths), "norm nan"),
        (lambda f: PackedFeatures(f.global_.flip(1), f.local, f.lengths), "not its last local"),
        (lambda f: PackedFeatures(f.global_[:0], f.local, f.lengths), "gave 0 items for 1"),
        (
            lambda f: PackedFeatures(f.global_, f.local[:2], f.lengths - 1),
            "item 0: .* 2 local",
        ),
        (lambda f: PackedFeatures(f.global_, f.local[:, :2], f.lengths), r"shape \(3, 2\)"),
    ],
)
@pytest.mark.parametrize("cache", ["disk", "memory", "off"])
def test_what_the_encoder_gives_is_checked(tmp_path: Path, spoil, message: str, cache: str) -> None:
    encode = Encoder()
    folder = tmp_path if cache == "disk" else None
    with pytest.raises(InputError, match=message):
        store = build(lambda given: spoil(encode(given)), cache=cache, directory=folder)  # type: ignore[arg-type]
        store.batch([0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "ram"}, "unknown feature cache 'ram'.* valid: auto, disk, memory, off"),
        (
            {"precision": "fp8"},
            "unknown precision of stored features 'fp8'.* valid: fp16, fp32, int8",
        ),
        ({"lengths": [3, 3]}, "2 lengths for 12 items"),
        ({"lengths": [3] * 11 + [0]}, "item 11 has 0 local features"),
        ({"key": {"weights": [1]}}, r"key entry 'weights': \[1\] is not a string"),
        ({}, "needs a cache folder"),
        ({"batch_rows": 0}, "at least 1"),
    ],
)
def test_bad_arguments(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(Encoder(), **options)


def test_a_missing_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no feature store in .*: manifest.json is missing"):
        FeatureStore.open(tmp_path / "nowhere")


def test_grad_mode_is_the_callers_own(tmp_path: Path) -> None:
    modes = []

    def encode(indices: list[int]) -> PackedFeatures:
        modes.append(torch.is_grad_enabled())
        return Encoder()(indices)

    build(encode, cache="memory", progress=lambda line: modes.append(torch.is_grad_enabled()))  # type: ignore[arg-type]
    assert modes == [True, *[False] * COUNT, True]


def test_atomic_write_names_leftovers_as_the_store_expects(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "shard-00000.safetensors") as stream:
        (path,) = tmp_path.glob(".shard-00000.safetensors.*.tmp")
        stream.write(b"x")
    assert not path.exists()
