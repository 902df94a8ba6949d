"""Partial labels: drawn masks, given masks, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yacs.config import CfgNode

from tai_dpt.datasets.base import ImageSplit
from tai_dpt.datasets.config import extend_dataset_cfg
from tai_dpt.datasets.hashing import uniform_hash
from tai_dpt.datasets.partial import LabelMask, draw_mask, mask_of, partial_labels
from tai_dpt.errors import InputError
from tai_dpt.scoring.metrics import known_cardinality
from tai_dpt.toolbox import get_cfg_default

CLASSES = tuple(f"class {i}" for i in range(20))


def images(count: int = 400, seed: int = 0) -> ImageSplit:
    labels = np.where(np.random.default_rng(seed).random((count, len(CLASSES))) < 0.2, 1, -1)
    ids = tuple(f"{i:06d}" for i in range(count))
    return ImageSplit(ids, tuple(f"{i}.jpg" for i in ids), labels.astype(np.int8))


def config(root: Path | str = "", **partial: object) -> CfgNode:
    cfg = get_cfg_default()
    extend_dataset_cfg(cfg)
    cfg.DATASET.ROOT = str(root)
    for key, value in partial.items():
        cfg.DATASET.PARTIAL[key] = value
    return cfg


@pytest.mark.parametrize("proportion", [0.1, 0.3, 0.5, 0.9])
def test_the_kept_rate_is_the_proportion(proportion):
    split = images(3000)
    labels = partial_labels(config(PROPORTION=proportion), split, CLASSES).labels
    assert (labels != 0).mean() == pytest.approx(proportion, abs=0.01)
    # neither positives nor negatives leak: a positive is known as rarely as a negative
    for sign in (1, -1):
        kept = (labels == sign).sum() / (split.labels == sign).sum()
        assert kept == pytest.approx(proportion, abs=0.02)
    known = labels != 0
    np.testing.assert_array_equal(labels[known], split.labels[known])
    assert set(np.unique(labels)) == {-1, 0, 1}


def test_each_class_and_each_image_keeps_its_share():
    mask = draw_mask(images(4000).ids, CLASSES, proportion=0.5, seed=3)
    assert np.abs(mask.mean(0) - 0.5).max() < 0.04
    assert np.abs(mask.mean(1) - 0.5).std() == pytest.approx(0.0669, rel=0.1)  # binomial(20, ½)
    correlation = np.corrcoef(mask.T) - np.eye(len(CLASSES))
    assert np.abs(correlation).max() < 0.08


def test_all_labels_are_known_by_default():
    split = images()
    np.testing.assert_array_equal(partial_labels(config(), split, CLASSES).labels, split.labels)


def test_a_subset_in_another_order_sees_the_same_mask():
    ids = images().ids
    whole = draw_mask(ids, CLASSES, proportion=0.4, seed=7)
    rows, columns = [17, 3, 250], [5, 0]
    part = draw_mask([ids[i] for i in rows], [CLASSES[c] for c in columns], proportion=0.4, seed=7)
    np.testing.assert_array_equal(part, whole[np.ix_(rows, columns)])


def test_smaller_proportions_are_nested_and_seeds_differ():
    ids = images().ids
    few, many = (draw_mask(ids, CLASSES, proportion=p, seed=1) for p in (0.2, 0.7))
    assert (many | ~few).all()
    other = draw_mask(ids, CLASSES, proportion=0.2, seed=2)
    assert (few & other).mean() == pytest.approx(0.04, abs=0.01)


def test_the_mask_does_not_change_between_versions():
    drawn = uniform_hash(1, ["a", "b"], ["x", "y"])
    expected = [[0.4532135689, 0.2710313734], [0.0158709943, 0.5214210823]]
    np.testing.assert_allclose(drawn, expected, atol=1e-9)


@given(st.lists(st.text(), min_size=1, max_size=8), st.integers(-3, 2**40))
def test_any_name_and_seed_gives_numbers_in_range(names, seed):
    drawn = uniform_hash(seed, names, names)
    assert drawn.shape == (len(names), len(names))
    assert ((drawn >= 0) & (drawn < 1)).all()


@pytest.mark.parametrize("proportion", [0.0, -0.1, 1.01])
def test_a_proportion_out_of_range(proportion):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        partial_labels(config(PROPORTION=proportion), images(), CLASSES)


def test_a_class_without_a_known_positive_is_named():
    split = images()
    split.labels[:, 4] = -1
    with pytest.warns(UserWarning, match=r"1 of 20 classes have no known positive.*: class 4$"):
        partial_labels(config(), split, CLASSES)


def test_a_saved_mask_gives_the_same_labels_whatever_the_order(tmp_path):
    split = images()
    drawn = partial_labels(config(PROPORTION=0.5), split, CLASSES)
    mask_of(drawn, CLASSES).save(tmp_path / "mask.npz")
    cfg = config(tmp_path, MASK="mask.npz", PROPORTION=0.5)
    np.testing.assert_array_equal(partial_labels(cfg, split, CLASSES).labels, drawn.labels)
    rows = [9, 2, 5]
    part = partial_labels(cfg, split.subset(rows), CLASSES)
    np.testing.assert_array_equal(part.labels, drawn.labels[rows])


def test_a_plain_array_is_a_mask(tmp_path):
    split = images()
    known = draw_mask(split.ids, CLASSES, proportion=0.3, seed=0)
    np.save(tmp_path / "mask.npy", known.astype(np.uint8))
    labels = partial_labels(config(tmp_path, MASK="mask.npy"), split, CLASSES).labels
    np.testing.assert_array_equal(labels != 0, known)


def write_public(path: Path, labels: np.ndarray) -> None:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in labels))


def test_the_public_release_is_read_line_by_line(tmp_path):
    split = images()
    known = draw_mask(split.ids, CLASSES, proportion=0.5, seed=0)
    given_labels = np.where(known, split.labels, 0)
    write_public(tmp_path / "train_proportion_0.5.txt", given_labels)
    split.labels[0, :] = 0  # difficult here; the release calls it absent or present
    cfg = config(tmp_path, MASK="train_proportion_0.5.txt", PROPORTION=0.5)
    np.testing.assert_array_equal(partial_labels(cfg, split, CLASSES).labels, given_labels)


def broken(folder: Path, kind: str) -> str:
    split = images()
    if kind == "size.npy":
        np.save(folder / kind, np.ones((399, 20)))
    elif kind == "values.npy":
        np.save(folder / kind, np.full((400, 20), 2))
    elif kind == "images.npz":
        LabelMask(tuple("abc"), CLASSES, np.ones((3, 20), bool)).save(folder / kind)
    elif kind == "classes.npz":
        LabelMask(split.ids, ("cat",), np.ones((400, 1), bool)).save(folder / kind)
    elif kind == "parts.npz":
        np.savez(folder / kind, ids=np.array(["a"]))
    elif kind == "torn.npz":
        (folder / kind).write_bytes(b"PK\x03\x04 no")
    elif kind == "short.txt":
        write_public(folder / kind, split.labels[:10])
    elif kind == "narrow.txt":
        write_public(folder / kind, split.labels[:, :19])
    elif kind == "shuffled.txt":
        write_public(folder / kind, split.labels[::-1])
    elif kind == "values.txt":
        write_public(folder / kind, np.full((400, 20), 3))
    elif kind == "mask.pt":
        (folder / kind).write_text("")
    return kind


BROKEN = [
    ("size.npy", r"399 × 20 .* 400 training images of 20 classes"),
    ("values.npy", r"0 \(unknown\) and 1 \(known\) only"),
    ("images.npz", r"for other images; it lacks 400 of 400: 000000"),
    ("classes.npz", r"for other classes; it lacks 20 of 20: class 0"),
    ("parts.npz", r"it lacks .class_names."),
    ("torn.npz", r"cannot be read as \.npz"),
    ("short.txt", r"10 × 20"),
    ("narrow.txt", r"line 1: 19 labels, but there are 20 classes"),
    ("shuffled.txt", r"line 1: says .* for other images or in another order"),
    ("values.txt", r"line 1: labels are 1, -1 and 0"),
    ("mask.pt", r"ends in \.npz, \.npy, \.txt"),
    ("none.npz", r"none\.npz is missing"),
]


@pytest.mark.parametrize(("kind", "message"), BROKEN, ids=[kind for kind, _ in BROKEN])
def test_a_mask_file_that_does_not_fit(tmp_path, kind, message):
    cfg = config(tmp_path, MASK=broken(tmp_path, kind))
    with pytest.raises(InputError, match=message):
        partial_labels(cfg, images(), CLASSES)


def test_a_mask_of_another_proportion(tmp_path):
    split = images()
    np.save(tmp_path / "m.npy", draw_mask(split.ids, CLASSES, proportion=0.87, seed=0))
    with pytest.raises(InputError, match=r"8\d\.\d% of its labels are known.*is 0\.5"):
        partial_labels(config(tmp_path, MASK="m.npy", PROPORTION=0.5), split, CLASSES)


def test_cardinality_from_known_labels():
    split = images(4000)
    whole = (split.labels > 0).sum(1).mean()
    labels = partial_labels(config(PROPORTION=0.3), split, CLASSES).labels
    assert known_cardinality(labels) == pytest.approx(whole, rel=0.05)
    assert np.isnan(known_cardinality(np.zeros((3, 2), np.int8)))
