"""Scores to probabilities, and the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tai_dpt.errors import InputError
from tai_dpt.scoring.calibration import SOURCES, Calibration, calibrate, calibrate_on_captions
from tai_dpt.scoring.metrics import best_f1_threshold, f1_scores


def world(n: int, classes: int, seed: int = 0, shift: float = 0.0, scale: float = 1.0):
    """Scores and labels that a logistic curve explains: slope 2, offset -4."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0.5, 1.2, (n, classes))
    labels = generator.random((n, classes)) < 1 / (1 + np.exp(4 - 2 * scores))
    return scores * scale + shift, labels.astype(np.int8)


def test_it_finds_the_curve_that_made_the_labels() -> None:
    scores, labels = world(4000, 6)
    fitted = calibrate(scores, labels, source=SOURCES[2])
    assert fitted.slope == pytest.approx(2, abs=0.2)
    assert fitted.offsets == pytest.approx([-4] * 6, abs=0.4)
    probabilities = fitted.probabilities(scores)
    assert probabilities.mean() == pytest.approx(labels.mean(), abs=0.005)
    assert fitted.cardinality == pytest.approx(labels.sum(1).mean())


def test_threshold_has_the_best_f1() -> None:
    scores, labels = world(300, 5)
    fitted = calibrate(scores, labels, source=SOURCES[2])
    probabilities = fitted.probabilities(scores)
    best = f1_scores(probabilities >= best_f1_threshold(probabilities, labels), labels)
    assert fitted.f1 == pytest.approx(best.of1)


@settings(deadline=None, max_examples=20)
@given(st.floats(-5, 5), st.floats(0.1, 10), st.integers(2, 12))
def test_probabilities_do_not_depend_on_the_scale_of_scores(shift, scale, classes) -> None:
    scores, labels = world(120, classes)
    moved, _ = world(120, classes, shift=shift, scale=scale)
    ours = calibrate(scores, labels, source=SOURCES[2]).probabilities(scores)
    theirs = calibrate(moved, labels, source=SOURCES[2]).probabilities(moved)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_separable_samples_and_silent_classes_stay_finite() -> None:
    scores = np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]] * 10)
    labels = (scores > 1).astype(np.int8)
    fitted = calibrate(scores, labels, source=SOURCES[2])
    assert np.isfinite(fitted.slope)
    assert np.isfinite(fitted.offsets).all()
    assert ((fitted.probabilities(scores) >= fitted.threshold) == (labels > 0)).all()
    account = fitted.account(["dog", "car", "boat"])
    assert "in fewer than 5 of those images, so that their" in account


def test_unknown_labels_are_left_out() -> None:
    scores, labels = world(500, 4)
    full = calibrate(scores, labels * 2 - 1, source=SOURCES[2])
    hidden = labels * 2 - 1
    hidden[::2] = 0
    half = calibrate(scores, hidden, source=SOURCES[2])
    only = calibrate(scores[1::2], labels[1::2] * 2 - 1, source=SOURCES[2])
    assert half.slope == pytest.approx(only.slope, rel=0.02)
    assert half.slope != pytest.approx(full.slope, rel=1e-6)


def test_cardinality_is_that_of_the_known_labels() -> None:
    scores, labels = world(4000, 5)
    hidden = labels * 2 - 1
    # negatives are seldom known, as where people name what they see
    hidden[(hidden < 0) & (np.random.default_rng(1).random(hidden.shape) < 0.8)] = 0
    ours = calibrate(scores, hidden, source=SOURCES[2]).cardinality
    known = hidden != 0
    assert ours == pytest.approx(((hidden > 0).sum(0) / known.sum(0)).sum())
    random = np.where(np.random.default_rng(2).random(labels.shape) < 0.7, 0, labels * 2 - 1)
    fitted = calibrate(scores, random, source=SOURCES[2])
    assert fitted.cardinality == pytest.approx(labels.sum(1).mean(), rel=0.05)


def test_unknown_labels_may_be_said_in_place_of_guessed() -> None:
    scores, labels = world(300, 3)
    ignore = np.random.default_rng(0).random(labels.shape) < 0.3
    said = calibrate(scores, labels, source=SOURCES[2], ignore=ignore)
    marked = np.where(ignore, 0, labels * 2 - 1)
    assert said == calibrate(scores, marked, source=SOURCES[2])


def test_a_threshold_of_each_class_where_it_has_labels_enough() -> None:
    generator = np.random.default_rng(4)
    scores = generator.normal(size=(200, 3))
    noise = generator.normal(size=(200, 3))
    labels = (scores + np.array([0.1, 2.0, 0.5]) * noise > np.array([1.0, -0.5, 2.2])).astype(
        np.int8
    )
    labels[:, 2] = 0
    labels[:4, 2] = 1  # four positives are too few
    one = calibrate(scores, labels, source=SOURCES[2])
    own = calibrate(scores, labels, source=SOURCES[2], per_class=True)
    assert (own.slope, own.offsets, own.threshold) == (one.slope, one.offsets, one.threshold)
    assert own.thresholds[2] == own.threshold
    assert own.limits.tolist() == list(own.thresholds)
    assert one.limits.tolist() == [one.threshold] * 3
    probabilities = own.probabilities(scores)

    def f1_of(column: int, limits: np.ndarray) -> float:
        decided = probabilities[:, [column]] >= limits[column]
        return f1_scores(decided, labels[:, [column]]).of1

    for column in (0, 1):
        best = best_f1_threshold(probabilities[:, column], labels[:, column])
        assert own.thresholds[column] == best
        assert f1_of(column, own.limits) >= f1_of(column, one.limits)
    assert own.f1 == pytest.approx(f1_scores(probabilities >= own.limits, labels).of1)
    assert "2 of 3 classes have a threshold of their own" in own.account("abc")
    assert Calibration.from_dict(own.as_dict()) == own
    assert "thresholds" not in one.as_dict()  # as version 0.1 writes it


def test_one_class_is_calibrated_like_many() -> None:
    scores, labels = world(500, 1)
    fitted = calibrate(scores, labels, source=SOURCES[2], per_class=True)
    assert fitted.slope == pytest.approx(2, rel=0.2)
    assert fitted.thresholds == (fitted.threshold,)
    images, _ = world(100, 1, seed=2)
    aligned = fitted.aligned(images, expected=0.2)
    assert aligned.probabilities(images).mean() == pytest.approx(0.2, abs=0.01)


def test_scores_that_are_not_finite_are_refused() -> None:
    scores, labels = world(30, 3)
    fitted = calibrate(scores, labels, source=SOURCES[2])
    scores[7, 2] = np.nan
    with pytest.raises(InputError, match=r"1 scores are not finite, .* of sample 7, class 2"):
        calibrate(scores, labels, source=SOURCES[2])
    with pytest.raises(InputError, match="of sample 7"):
        fitted.aligned(scores)


def test_alignment_expects_as_many_classes_as_captions_name() -> None:
    scores, labels = world(2000, 10)
    images, truth = world(2000, 10, seed=1, shift=3.0, scale=0.3)
    usable, plain = calibrate_on_captions(scores, labels)
    assert usable.standardised
    assert not plain.standardised
    aligned = plain.aligned(images)
    assert aligned.source == SOURCES[1]
    assert aligned.probabilities(images).sum(1).mean() == pytest.approx(plain.cardinality, abs=0.01)
    decided = aligned.probabilities(images) >= aligned.threshold
    best = best_f1_threshold(images, truth)
    assert f1_scores(decided, truth).of1 > f1_scores(images >= best, truth).of1 - 2
    assert plain.probabilities(images).sum(1).mean() > 2 * plain.cardinality  # without it
    with pytest.raises(InputError, match="3 images are too few"):
        plain.aligned(images[:3])


def test_standardised_probabilities_ignore_where_a_samples_scores_lie() -> None:
    scores, labels = world(400, 10)
    usable, _ = calibrate_on_captions(scores, labels)
    np.testing.assert_allclose(
        usable.probabilities(scores), usable.probabilities(0.2 * scores + 7), atol=1e-9
    )
    few, plain = calibrate_on_captions(scores[:, :3], labels[:, :3])
    assert few == plain
    assert "with fewer than 8 classes" in few.account("abc")


def test_it_survives_json() -> None:
    import json

    fitted = calibrate(*world(50, 3), source=SOURCES[0])
    assert Calibration.from_dict(json.loads(json.dumps(fitted.as_dict()))) == fitted


def test_nothing_to_learn_from_is_an_error() -> None:
    with pytest.raises(InputError, match="no positive label"):
        calibrate(np.ones((3, 2)), np.zeros((3, 2)), source=SOURCES[2])
    with pytest.raises(InputError, match=r"no negative label .* do not show a class"):
        calibrate(np.ones((3, 2)), np.ones((3, 2)), source=SOURCES[2])
    with pytest.raises(InputError, match="do not go with"):
        calibrate(np.ones((3, 2)), np.ones((2, 2)), source=SOURCES[2])
