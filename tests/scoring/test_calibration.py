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
    assert "under 5 images, so mostly learned from the other classes: boat" in fitted.account(
        ["dog", "car", "boat"]
    )


def test_unknown_labels_are_left_out() -> None:
    scores, labels = world(500, 4)
    full = calibrate(scores, labels * 2 - 1, source=SOURCES[2])
    hidden = labels * 2 - 1
    hidden[::2] = 0
    half = calibrate(scores, hidden, source=SOURCES[2])
    only = calibrate(scores[1::2], labels[1::2] * 2 - 1, source=SOURCES[2])
    assert half.slope == pytest.approx(only.slope, rel=0.02)
    assert half.slope != pytest.approx(full.slope, rel=1e-6)


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
    with pytest.raises(InputError, match="no negative label"):
        calibrate(np.ones((3, 2)), np.ones((3, 2)), source=SOURCES[2])
    with pytest.raises(InputError, match="do not go with"):
        calibrate(np.ones((3, 2)), np.ones((2, 2)), source=SOURCES[2])
