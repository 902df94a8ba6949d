"""Feature stores with one thing wrong in them: refused, or made again, never read wrongly."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from documents import WRONG, changed, paths_in, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tai_dpt.errors import InputError
from tai_dpt.features import FeatureStore, PackedFeatures, StoreOptions, StorePlan

LENGTHS = [2, 3, 2, 4, 3, 2]
ROWS = torch.eye(4)[torch.arange(sum(LENGTHS)) % 4]
ANY_DAMAGE = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def build(folder: Path) -> FeatureStore:
    starts = np.cumsum([0, *LENGTHS])

    def encode(items: list[int]) -> PackedFeatures:
        rows = torch.cat([ROWS[starts[i] : starts[i + 1]] for i in items])
        lengths = torch.tensor([LENGTHS[i] for i in items])
        return PackedFeatures(rows[lengths.cumsum(0) - 1], rows, lengths)

    return StorePlan(
        key={"weights": "abc", "size": 4},
        count=len(LENGTHS),
        embed_dim=4,
        encode=encode,
        lengths=LENGTHS,
        global_is_last=True,
        options=StoreOptions(directory=folder, shard_bytes=64, progress=None),
    ).open()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    build(folder)
    return folder


def check(folder: Path) -> None:
    """It opens with its rows or is refused in one line; building mends it, or refuses in one."""
    for reading in (FeatureStore.open, build):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                store = reading(folder)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert torch.equal(store.packed(range(len(LENGTHS))).local, ROWS)


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def in_manifest() -> list[Any]:
    manifest = {
        "format": "tai_dpt feature store 2",
        "identity": {
            **{"key": {"weights": "abc"}, "items": 6, "lengths": {"sum": 16, "crc32": 1}},
            **{"embed_dim": 4, "precision": "fp16", "global": "last local"},
        },
        **{"about": {"first": "a"}, "complete": True, "bounds": [0, 2, 4, 6]},
    }
    return list(paths_in(manifest, 3))


@pytest.mark.parametrize("path", in_manifest(), ids=lambda path: ".".join(path))
def test_a_wrong_value_in_the_manifest(path: tuple[str, ...], store: Path) -> None:
    content = json.loads((store / "manifest.json").read_text())
    for value in (*WRONG.values(), True, [0, 6], [6, 0], 2**62, "\0"):
        try:
            wrong = written(changed(content, path, value))
        except KeyError:  # 'about' of a store without
            continue
        (store / "manifest.json").write_bytes(wrong)
        check(store)


@ANY_DAMAGE
@given(data=st.data())
def test_flipped_cut_and_added_bytes_anywhere(whole: Path, tmp_path: Path, data: Any) -> None:
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    file = folder / data.draw(st.sampled_from(sorted(p.name for p in folder.iterdir())))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, max(len(content) - 1, 0)))
    how = data.draw(st.sampled_from(("flip", "cut", "add")))
    if how == "flip" and content:
        content[place] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[place:]
    else:
        content[place:place] = data.draw(st.binary(max_size=20))
    file.write_bytes(content)
    check(folder)


@ANY_DAMAGE
@given(
    record=st.dictionaries(
        st.sampled_from(["store", "shard", "items", "rows", "crc32", "written"]),
        st.none() | st.integers() | st.text() | st.lists(st.integers(), max_size=3),
    )
)
def test_any_record_of_a_shard(whole: Path, tmp_path: Path, record: dict[str, Any]) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = tmp_path / "record"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    shard = folder / "shard-00001.safetensors"
    with safe_open(shard, "pt") as content:
        local, said = content.get_tensor("local"), json.loads(content.metadata()["record"])
    save_file({"local": local.clone()}, shard, metadata={"record": json.dumps({**said, **record})})
    check(folder)


@pytest.mark.parametrize("kind", ["<i8", "<f4", "U3", "O", "zip", "two-dimensional", "negative"])
def test_lengths_of_another_kind(kind: str, store: Path) -> None:
    path = store / "lengths.npy"
    lengths = np.array(LENGTHS)
    if kind == "zip":
        with path.open("wb") as stream:
            np.savez(stream, lengths)
    elif kind == "negative":
        np.save(path, -lengths)
    else:
        np.save(path, lengths[:, None] if "two" in kind else lengths.astype(kind))
    check(store)
