"""Fusing score matrices: the mathematics, and what two runs must share."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tai_dpt.errors import InputError
from tai_dpt.scoring.fusion import (
    NORMALISATIONS,
    WEIGHTS,
    choose_weight,
    fuse,
    map_over_weights,
    normalise,
)
from tai_dpt.scoring.metrics import average_precisions
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.scoring.run_fusion import Component, align, fuse_components

from reference import load_golden

matrices = arrays(np.float32, (5, 3), elements=st.floats(-100, 100, width=32))


def test_the_published_ensemble_is_reproduced():
    golden = load_golden("metrics")
    text, image = golden.scores_text.numpy(), golden.scores_image.numpy()
    weights, labels = golden.fused_weights.tolist(), golden.labels.numpy()
    for weight, reference in zip(weights, golden.fused_map.tolist(), strict=True):
        ours = average_precisions(fuse(text, image, weight=weight), labels).mean()
        assert ours == pytest.approx(reference, rel=1e-5)
    curve = map_over_weights(text, image, labels, weights=weights)
    np.testing.assert_allclose(curve, golden.fused_map.numpy(), rtol=1e-5)


@pytest.mark.parametrize("how", NORMALISATIONS)
@given(scores=matrices)
def test_normalising_keeps_the_order(how, scores):
    ours, given_ = normalise(scores, how).ravel(), scores.ravel().astype(float)
    order = np.argsort(given_, kind="stable")
    assert (np.diff(ours[order]) >= 0).all()
    assert np.isfinite(ours).all()
    if how != "zscore":
        assert ours.min() >= 0 and ours.max() <= 1


@given(matrices, matrices, st.sampled_from(NORMALISATIONS))
def test_the_ends_are_the_components(text, image, how):
    for weight, alone in ((0.0, text), (1.0, image)):
        fused = fuse(text, image, weight=weight, normalisation=how)
        np.testing.assert_allclose(fused, normalise(alone, how))


@given(matrices, st.floats(0.1, 10), st.floats(-5, 5), st.sampled_from(["minmax", "zscore"]))
def test_scale_and_shift_of_a_model_do_not_matter(scores, scale, shift, how):
    spread = float(scores.max() - scores.min())
    if spread < 1e-2:
        return
    moved = normalise(scores.astype(np.float64) * scale + shift, how)
    np.testing.assert_allclose(moved, normalise(scores, how), atol=1e-6)


def test_ranks_are_shared_by_ties():
    ours = normalise(np.array([[3.0, 1.0], [1.0, 2.0]]), "rank")
    np.testing.assert_allclose(ours, np.array([[3.0, 0.5], [0.5, 2.0]]) / 3)


@pytest.mark.parametrize("how", NORMALISATIONS)
def test_a_constant_matrix_decides_nothing(how):
    text, image = np.full((4, 2), 0.1, np.float32), np.arange(8.0).reshape(4, 2)
    assert np.ptp(normalise(text, how)) == 0
    labels = np.array([[1, -1], [-1, 1], [1, -1], [-1, 1]])
    fused = average_precisions(fuse(text, image, weight=0.5, normalisation=how), labels)
    np.testing.assert_array_equal(fused, average_precisions(image, labels))


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_its_range(weight):
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        fuse(np.zeros((1, 1)), np.zeros((1, 1)), weight=weight)


def test_what_cannot_be_fused():
    with pytest.raises(InputError, match="did you mean 'minmax'"):
        normalise(np.zeros((1, 1)), "minmaxx")
    with pytest.raises(
        InputError, match="1 scores are not finite, the first is nan, of sample 0, class 1"
    ):
        normalise(np.array([[1.0, np.nan]]))
    with pytest.raises(InputError, match=r"shape \(2, 1\) and \(1, 2\)"):
        fuse(np.zeros((2, 1)), np.zeros((1, 2)), weight=0.5)


def toy(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and two models that err independently, the second less."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((n, 4)) < 0.3, 1, -1)
    text = labels + 2.0 * rng.normal(size=labels.shape)
    return text, labels + 1.2 * rng.normal(size=labels.shape), labels


def test_the_chosen_weight_is_nearly_best_on_what_it_was_shown():
    text, image, labels = toy()
    chosen = choose_weight(text, image, labels)
    (there,) = map_over_weights(text, image, labels, weights=(chosen,))
    assert there > map_over_weights(text, image, labels).max() - 0.5
    assert 0.5 < chosen < 1


def test_few_images_do_not_move_the_weight_far_from_equal():
    """The best λ of a dozen images is chance, and does worse elsewhere than what is chosen."""
    text, image, labels = toy(seed=1, n=4000)
    shown = [slice(12 * draw, 12 * draw + 12) for draw in range(40)]
    chosen = [choose_weight(text[s], image[s], labels[s]) for s in shown]
    best = [WEIGHTS[map_over_weights(text[s], image[s], labels[s]).argmax()] for s in shown]
    elsewhere = (text[500:], image[500:], labels[500:])
    ours, theirs = (np.mean(map_over_weights(*elsewhere, weights=w)) for w in (chosen, best))
    (equal,) = map_over_weights(*elsewhere, weights=(0.5,))
    assert ours > theirs and ours > equal - 0.5


def test_unknown_labels_have_no_say_in_the_weight():
    text, image, labels = toy()
    known = np.random.default_rng(1).random(labels.shape) < 0.5
    partial = np.where(known, labels, 0)
    chosen = choose_weight(text, image, partial)
    text[~known], image[~known] = 0.0, 0.0  # whatever the scores of unknown pairs are …
    rows = np.flatnonzero(known.any(1))
    assert choose_weight(text[rows], image[rows], partial[rows]) == chosen


def test_equal_weights_give_the_middle_and_no_positive_an_error():
    text, _, labels = toy()
    assert choose_weight(text, text, labels) == 0.5
    with pytest.raises(InputError, match="no known positive among the 400 held-out images"):
        choose_weight(text, text, np.minimum(labels, 0))


# -- two runs -------------------------------------------------------------------------------------


def component(name: str, scores: np.ndarray, labels: np.ndarray, **changes: object) -> Component:
    parts = {
        "ids": tuple(f"img{i}" for i in range(len(scores))),
        "class_names": ("cat", "dog", "car", "tv"),
        "labels": labels.astype(np.int8),
        "global_": scores.astype(np.float32),
        "local": (scores * 2).astype(np.float32),
        "merged": (scores * 1.5).astype(np.float32),
    }
    return Component(name, ScoreTable(**{**parts, **changes}), "merged", {})


def permuted(given: Component, rows: np.ndarray, columns: np.ndarray) -> Component:
    table, at = given.table, np.ix_(rows, columns)
    return Component(
        given.name,
        ScoreTable(
            ids=tuple(table.ids[i] for i in rows),
            class_names=tuple(table.class_names[i] for i in columns),
            labels=table.labels[at],
            global_=table.global_[at],
            local=table.local[at],
            merged=table.merged[at],
        ),
        given.prediction,
        {},
    )


def test_another_order_is_aligned():
    scores, other, labels = toy()
    text, image = component("T", scores, labels), component("I", other, labels)
    rng = np.random.default_rng(5)
    shuffled = permuted(image, rng.permutation(len(labels)), rng.permutation(4))
    one = fuse_components(text, image, weight=0.7)
    two = fuse_components(text, shuffled, weight=0.7)
    for kind in ("merged", "global", "local"):
        np.testing.assert_array_equal(one.of(kind), two.of(kind))
    assert two.ids == text.table.ids
    np.testing.assert_array_equal(align(text, shuffled).table.labels, labels)


def test_the_predictions_are_fused_not_the_merged_scores():
    scores, other, labels = toy()
    text = component("T", scores, labels)
    image = Component("I", component("I", other, labels, local=-other).table, "local", {})
    fused = fuse_components(text, image, weight=1.0)
    np.testing.assert_allclose(fused.merged, normalise(-other), atol=1e-6)


def test_other_images_classes_or_labels_are_named():
    scores, other, labels = toy(n=5)
    text = component("T", scores, labels)
    ids = ("img0", "img1", "img2", "img3", "new")
    with pytest.raises(InputError, match=r"other images: 1 only in T: img4; 1 only in I: new"):
        align(text, component("I", other, labels, ids=ids))
    with pytest.raises(InputError, match=r"other classes: 1 only in T: tv; 1 only in I: bus"):
        align(text, component("I", other, labels, class_names=("cat", "dog", "car", "bus")))
    wrong = labels.copy()
    wrong[3, 1] *= -1
    with pytest.raises(InputError, match=r"disagree about 1 labels, first about 'dog' in .*'img3'"):
        align(text, component("I", other, wrong))


def test_runs_that_count_unknown_labels_differently_are_not_fused():
    scores, other, labels = toy(n=5)
    labels[0, 0] = 0
    counted = dataclasses.replace(
        component("T", scores, labels), results={"unknown_labels": "negatives"}
    )
    left_out = dataclasses.replace(
        component("I", other, labels), results={"unknown_labels": "ignored"}
    )
    with pytest.raises(InputError, match="T and I differ in whether unknown labels count"):
        align(counted, left_out)
    assert align(left_out, left_out).results == left_out.results
