"""Few-shot draws and held-out images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tai_dpt.datasets.base import ImageSplit
from tai_dpt.datasets.few_shot import few_shot, few_shot_rows, held_out
from tai_dpt.errors import InputError


def split(labels: np.ndarray) -> ImageSplit:
    ids = tuple(str(i) for i in range(len(labels)))
    return ImageSplit(ids, ids, labels.astype(np.int8))


def many(count: int = 500, classes: int = 12) -> ImageSplit:
    rng = np.random.default_rng(0)
    share = np.geomspace(0.4, 0.03, classes)
    return split(np.where(rng.random((count, classes)) < share, 1, -1))


@settings(deadline=None)
@given(
    arrays(np.int8, st.tuples(st.integers(0, 30), st.integers(1, 5)), elements=st.integers(-1, 1)),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_every_class_has_its_shots_and_no_image_is_idle(labels, shots, seed):
    ids = [str(i) for i in range(len(labels))]
    rows = few_shot_rows(ids, labels, shots=shots, seed=seed)
    assert sorted(set(rows.tolist())) == rows.tolist()
    positive = labels > 0
    have, there = positive[rows].sum(0), positive.sum(0)
    assert (have >= np.minimum(there, shots)).all()
    assert positive[rows].any(1).all()  # each was drawn for a class it shows
    assert len(rows) <= np.minimum(there, shots).sum()


@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_rare_classes_first_keeps_the_set_small(shots):
    images = many()
    rows = few_shot_rows(images.ids, images.labels, shots=shots, seed=1)
    counts = (images.labels[rows] > 0).sum(0)
    there = (images.labels > 0).sum(0)
    assert (counts >= np.minimum(there, shots)).all()
    assert len(rows) <= shots * 12


def test_the_draw_depends_on_seed_and_ids_not_on_order():
    images = many()
    one = few_shot_rows(images.ids, images.labels, shots=4, seed=1)
    shuffled = images.subset(np.random.default_rng(1).permutation(len(images)))
    two = few_shot_rows(shuffled.ids, shuffled.labels, shots=4, seed=1)
    assert {images.ids[i] for i in one} == {shuffled.ids[i] for i in two}
    other = few_shot_rows(images.ids, images.labels, shots=4, seed=2)
    assert set(one.tolist()) != set(other.tolist())


def test_drawn_images_keep_all_labels_and_minus_one_is_all():
    images = many()
    drawn = few_shot(images, list("abcdefghijkl"), shots=2, seed=0)
    row = images.ids.index(drawn.ids[0])
    np.testing.assert_array_equal(drawn.labels[0], images.labels[row])
    assert few_shot(images, list("abcdefghijkl"), shots=-1, seed=0) is images


def test_a_class_with_too_few_images_is_named():
    images = split(np.array([[1, -1], [1, -1], [-1, 1]]))
    with pytest.warns(UserWarning, match=r"fewer than 2 known positives to draw: b \(1\)"):
        few_shot(images, ["a", "b"], shots=2, seed=0)


@pytest.mark.parametrize("shots", [0, -2])
def test_shots_out_of_range(shots):
    with pytest.raises(InputError, match=f"NUM_SHOTS is {shots}; 1 or more"):
        few_shot(many(), list("abcdefghijkl"), shots=shots, seed=0)


def test_held_out_images():
    ids = [str(i) for i in range(4000)]
    kept = held_out(ids, share=0.1, seed=0)
    assert kept.mean() == pytest.approx(0.1, abs=0.02)
    np.testing.assert_array_equal(held_out(ids[50:60], share=0.1, seed=0), kept[50:60])
    assert not held_out(ids, share=0.0, seed=0).any()
    with pytest.raises(InputError, match=r"HOLDOUT is 1\.0"):
        held_out(ids, share=1.0, seed=0)
