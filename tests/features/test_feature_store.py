"""The feature store, as its readers see it."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tai_dpt.errors import InputError
from tai_dpt.features import Features
from tai_dpt.features.build import StorePlan
from tai_dpt.features.encode import plan_batches
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.packed import PackedFeatures
from tai_dpt.features.precisions import PRECISIONS
from tai_dpt.features.store import FeatureStore, OnDemandStore

WIDTH = 8
HALF = 2.0**-11  # relative rounding of half precision


class Items:
    """Items with known random features, an encoder for them, and a log of what it encoded."""

    def __init__(self, lengths: list[int], *, captions: bool = True, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.captions = captions
        self.lengths = lengths
        self.local = [normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in lengths]
        self.global_ = [
            rows[-1] if captions else normalize(torch.randn(WIDTH, generator=generator), dim=0)
            for rows in self.local
        ]
        self.encoded: list[int] = []

    def encode(self, indices: list[int]) -> PackedFeatures:
        self.encoded += indices
        return PackedFeatures(
            torch.stack([self.global_[i] for i in indices]),
            torch.cat([self.local[i] for i in indices]),
            torch.tensor([self.lengths[i] for i in indices]),
        )

    def build(self, **options: object) -> FeatureStore:
        settings: dict[str, object] = {
            "key": {"weights": "abc", "texts": "def"},
            "count": len(self.lengths),
            "embed_dim": WIDTH,
            "encode": self.encode,
            "lengths": self.lengths,
            "global_is_last": self.captions,
            "precision": "fp32",
            "shard_bytes": 400,  # a few items a shard
            "progress": None,
        }
        how = {field.name for field in fields(StoreOptions)}
        given = {**settings, **options}
        kept = StoreOptions(**{k: v for k, v in given.items() if k in how})  # type: ignore[arg-type]
        what = {k: v for k, v in given.items() if k not in how}
        return StorePlan(**what, options=kept).open()  # type: ignore[arg-type]

    def check(
        self, store: FeatureStore, indices: list[int], rtol: float = 0, atol: float = 0
    ) -> None:
        """Every way of reading gives what a plain list of arrays gives."""
        close: dict[str, Any] = {"rtol": rtol, "atol": atol}
        packed = store.packed(indices)
        assert packed.lengths.tolist() == [self.lengths[i] for i in indices]
        assert packed.local.dtype == packed.global_.dtype == torch.float32
        batch = store.batch(indices)
        assert batch.mask.shape[1] == max((self.lengths[i] for i in indices), default=0)
        only_global = store.global_features(indices)
        rows = packed.local.split(packed.lengths.tolist()) if indices else ()
        for at, (i, own) in enumerate(zip(indices, rows, strict=True)):
            torch.testing.assert_close(own, self.local[i], **close)
            torch.testing.assert_close(packed.global_[at], self.global_[i], **close)
            n = self.lengths[i]
            assert torch.equal(batch.local[at, :n], own)
            assert not batch.local[at, n:].any()
            assert batch.mask[at].tolist() == [True] * n + [False] * (batch.mask.shape[1] - n)
            assert torch.equal(batch.global_[at], packed.global_[at])
            assert torch.equal(only_global[at], packed.global_[at])


@pytest.mark.parametrize("captions", [True, False])
@pytest.mark.parametrize("lengths", [[3, 7, 1, 4, 4, 9, 2, 5], [4] * 9, [6]])
@pytest.mark.parametrize(
    ("precision", "rtol", "atol"),
    [("fp32", 0, 0), ("fp16", HALF, HALF * 1e-3), ("int8", 0, 0.0045)],
)
def test_disk_memory_and_off_read_the_same(
    tmp_path: Path, lengths: list[int], captions: bool, precision: str, rtol: float, atol: float
) -> None:
    items = Items(lengths, captions=captions)
    order = [*reversed(range(len(lengths))), 0, 0]
    stores = [
        items.build(cache="disk", directory=tmp_path / "store", precision=precision),
        items.build(cache="memory", precision=precision),
        items.build(cache="off", precision=precision),
    ]
    for store in stores:
        assert len(store) == len(lengths)
        assert store.lengths.tolist() == lengths
        items.check(store, order, rtol, atol)
        assert torch.equal(store.packed(order).local, stores[0].packed(order).local)
    assert isinstance(stores[2], OnDemandStore)


@given(
    seed=st.integers(0, 1000), rows=st.integers(0, 5), size=st.floats(0.1, 1e3), flat=st.booleans()
)
def test_whole_numbers_are_off_by_half_a_step_at_most(
    seed: int, rows: int, size: float, flat: bool
) -> None:
    eight = PRECISIONS["int8"]
    given_rows = size * torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))
    if flat:
        given_rows[:] = 0
    read = eight.read(eight.stored(given_rows), torch.float32)
    step = given_rows.abs().amax(dim=1, keepdim=True) / 127
    assert ((read - given_rows).abs() <= step * (0.5 + 127 * HALF) + 1e-6).all()


@settings(max_examples=40, deadline=None)
@given(data=st.data(), captions=st.booleans(), shard_bytes=st.integers(1, 2000))
def test_reads_what_a_list_of_arrays_holds(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, captions: bool, shard_bytes: int
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=20))
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=30))
    items = Items(lengths, captions=captions)
    store = items.build(
        directory=tmp_path_factory.mktemp("store"),
        shard_bytes=shard_bytes,
        batch_rows=data.draw(st.integers(1, 60)),
    )
    items.check(store, indices)
    assert sorted(items.encoded) == list(range(len(lengths)))  # each exactly once


@given(st.lists(st.integers(1, 77), max_size=60), st.integers(1, 300), st.integers(1, 9))
def test_batches_hold_every_item_once_within_their_limits(
    lengths: list[int], rows: int, most: int
) -> None:
    batches = plan_batches(
        torch.tensor(lengths, dtype=torch.int64), batch_rows=rows, batch_items=most
    )
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= rows
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)


def test_captions_store_their_global_feature_once(tmp_path: Path) -> None:
    lengths = [3, 5]
    assert Items(lengths).build(directory=tmp_path / "c").nbytes == 8 * WIDTH * 4
    assert Items(lengths, captions=False).build(directory=tmp_path / "i").nbytes == 10 * WIDTH * 4
    half = Items(lengths).build(directory=tmp_path / "h", precision="fp16")
    assert half.nbytes == 8 * WIDTH * 2
    whole = Items(lengths).build(directory=tmp_path / "8", precision="int8")
    assert whole.nbytes == 8 * (WIDTH + 2)


def test_stored_rows_keep_unit_norm_within_half_rounding(tmp_path: Path) -> None:
    store = Items([5] * 50).build(directory=tmp_path, precision="fp16")
    norms = store.packed(range(50)).local.norm(dim=1)
    assert float((norms - 1).abs().max()) < HALF


def test_an_encoder_may_give_padded_features(tmp_path: Path) -> None:
    items = Items([2, 6, 3, 3])

    def encode(indices: list[int]) -> Features:
        return items.encode(indices).padded()

    store = items.build(directory=tmp_path, encode=encode)
    items.check(store, [3, 0, 1, 2])


def test_a_loader_reads_inputs_ahead_across_shards(tmp_path: Path) -> None:
    items = Items([4] * 12, captions=False)
    asked = []

    def load(batches):
        asked.append([list(batch) for batch in batches])
        return ([100 + i for i in batch] for batch in batches)

    store = items.build(
        directory=tmp_path, load=load, encode=lambda given: items.encode([i - 100 for i in given])
    )
    items.check(store, [5, 11, 0])
    assert len(asked) == 1, "one stream for the whole build"
    assert [i for batch in asked[0] for i in batch] == list(range(12))

    with pytest.raises(InputError, match="load yielded 0 inputs for 1 batches"):
        items.build(cache="off", load=lambda batches: []).batch([0])


@pytest.mark.parametrize("cache", ["disk", "memory", "off"])
def test_length_is_learned_from_the_first_item(tmp_path: Path, cache: str) -> None:
    items = Items([4] * 6, captions=False)
    root = tmp_path if cache == "disk" else None
    store = items.build(lengths=None, cache=cache, root=root)
    items.check(store, [5, 0, 3])
    items.encoded.clear()
    if cache == "disk":
        items.check(items.build(lengths=None, root=root), [1, 2])
        assert items.encoded == [], "a finished store is opened without encoding anything"


def test_empty_store_and_empty_batch(tmp_path: Path) -> None:
    nothing = Items([])
    for store in (
        nothing.build(directory=tmp_path / "none"),
        nothing.build(cache="memory"),
        nothing.build(cache="off"),
        Items([3, 4]).build(directory=tmp_path / "two"),
    ):
        batch = store.batch([])
        assert batch.local.shape == (0, 0, WIDTH)
        assert batch.global_.shape == (0, WIDTH)
        assert store.global_features([]).shape == (0, WIDTH)
    assert len(FeatureStore.open(tmp_path / "none")) == 0


def test_kinds_of_indices(tmp_path: Path) -> None:
    store = Items([3, 1, 2]).build(directory=tmp_path)
    expected = store.packed([1, 2]).local
    for indices in (range(1, 3), (1, 2), np.array([1, 2]), torch.tensor([1, 2], dtype=torch.int32)):
        assert torch.equal(store.packed(indices).local, expected)
    with pytest.raises(IndexError, match="item 3 is outside a store of 3 items"):
        store.packed([0, 3])
    with pytest.raises(IndexError, match="item -1 is outside"):
        store.batch([-1])
    with pytest.raises(TypeError, match="integers"):
        store.batch(torch.tensor([True, False, True]))


def test_writing_to_what_was_read_never_reaches_the_store(tmp_path: Path) -> None:
    items = Items([3, 4, 2])
    store = items.build(directory=tmp_path, shard_bytes=10**6)
    store.packed([0, 1, 2]).local.zero_()
    store.batch([0, 1, 2]).local.zero_()
    items.check(FeatureStore.open(tmp_path, verify=True), [0, 1, 2])
    items.check(store, [0, 1, 2])


def test_pickling_sends_the_folder_not_the_features(tmp_path: Path) -> None:
    items = Items([5] * 40)
    store = items.build(directory=tmp_path)
    message = pickle.dumps(store)
    assert len(message) < 400
    items.check(pickle.loads(message), [1, 30])
    items.check(pickle.loads(pickle.dumps(items.build(cache="memory"))), [1, 30])
