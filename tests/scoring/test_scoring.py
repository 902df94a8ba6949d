"""Scores, losses and metrics against plain versions and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import slow_reference as plain
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    average_precision_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)

from tai_dpt.errors import InputError
from tai_dpt.features import Features
from tai_dpt.scoring.losses import asymmetric_loss, ranking_loss
from tai_dpt.scoring.metrics import (
    average_precision,
    average_precisions,
    best_f1_threshold,
    check_finite,
    evaluate,
    f1_scores,
    top_k,
)
from tai_dpt.scoring.scores import dual_scores, heat_map, score

shapes = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 7), st.integers(2, 8))


def random_features(seed: int, batch: int, width: int, longest: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (batch,), generator=generator)
    mask = torch.arange(longest) < lengths[:, None]
    local = F.normalize(torch.randn(batch, longest, width, generator=generator), dim=-1)
    return Features(
        F.normalize(torch.randn(batch, width, generator=generator), dim=-1),
        local * mask[..., None],
        mask,
    )


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999), sharpness=st.sampled_from([0.0, 4.0, 50.0]))
def test_scores_equal_the_plain_sums(shape, seed, sharpness):
    batch, n_classes, longest, width = shape
    features = random_features(seed, batch, width, longest)
    prompts = F.normalize(torch.randn(2, n_classes, width), dim=-1)
    scores = score(features, *prompts, scale=4.0, sharpness=sharpness)
    torch.testing.assert_close(scores.global_, 4 * features.global_ @ prompts[0].T)
    for b in range(batch):
        real = features.local[b][features.mask[b]]
        expected = plain.local_score(real, prompts[1], 4.0, sharpness)
        torch.testing.assert_close(scores.local[b], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.merged, (scores.global_ + scores.local) / 2)


def test_padding_changes_nothing():
    features = random_features(3, 4, 8, 5)
    wider = Features.cat([features, random_features(4, 1, 8, 9)])[:4]
    assert wider.local.shape[1] == 9
    prompts = F.normalize(torch.randn(2, 3, 8), dim=-1)
    for make in (score, dual_scores):
        narrow = make(features, *prompts, scale=4.0, sharpness=50.0)
        padded = make(wider, *prompts, scale=4.0, sharpness=50.0)
        torch.testing.assert_close(narrow.local, padded.local)


def test_heat_map_is_the_similarity_where_there_is_something():
    features = random_features(5, 3, 8, 4)
    prompts = F.normalize(torch.randn(2, 8), dim=-1)
    heat = heat_map(features, prompts)
    assert heat.isnan().any(-1).equal(~features.mask)
    torch.testing.assert_close(heat[0, 0], features.local[0, 0] @ prompts.T)


@settings(max_examples=40, deadline=None)
@given(
    labels=hnp.arrays(
        np.int8, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 1)
    ),
    margin=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
def test_ranking_loss_equals_the_sum_over_pairs(labels, margin, seed):
    truth = torch.from_numpy(labels)
    scores = torch.randn(labels.shape, generator=torch.Generator().manual_seed(seed))
    scores.requires_grad_()
    loss = ranking_loss(scores, truth, margin=margin)
    (gradient,) = torch.autograd.grad(loss, scores)
    reference = plain.ranking_loss(scores, truth, margin)
    torch.testing.assert_close(loss, reference)
    if reference.requires_grad:
        torch.testing.assert_close(gradient, torch.autograd.grad(reference, scores)[0])


def test_asymmetric_loss_sees_known_labels_only():
    logits = torch.randn(3, 4)
    labels = torch.tensor([[1, -1, 0, 0], [0, 0, 0, 0], [1, 1, -1, 0]])
    changed = torch.where(labels == 0, logits + 5, logits)
    assert asymmetric_loss(logits, labels).equal(asymmetric_loss(changed, labels))
    assert asymmetric_loss(logits[1:2], labels[1:2]) == 0


lengths = st.tuples(st.integers(1, 30))
scored = st.one_of(
    hnp.arrays(np.float64, lengths, elements=st.floats(allow_nan=False, allow_infinity=False)),
    hnp.arrays(np.float32, lengths, elements=st.floats(-5, 5, width=32)),
    hnp.arrays(np.float16, lengths, elements=st.floats(-1, 1, width=16)),
    hnp.arrays(np.int8, lengths),  # quantised: -(-128) is -128
    hnp.arrays(np.uint8, lengths, elements=st.integers(0, 3)),
    hnp.arrays(np.bool_, lengths),
)


@settings(max_examples=300, deadline=None)
@given(scores=scored, seed=st.integers(0, 999))
def test_average_precision_equals_scikit_learn(scores, seed):
    """Ties, whatever their order, and every kind of number among them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, len(scores))
    if not labels.any():
        assert np.isnan(average_precision(scores, labels))
        return
    expected = 100 * average_precision_score(labels, scores)
    assert average_precision(scores, labels) == pytest.approx(expected, rel=1e-12)
    order = rng.permutation(len(scores))
    assert average_precision(scores[order], labels[order]) == average_precision(scores, labels)


def test_constant_scores_get_the_share_of_positives():
    labels = np.array([1, -1, -1, 1, -1])
    assert average_precision(np.full(5, 0.3), labels) == pytest.approx(40)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_never_a_figure(bad):
    scores, labels = np.zeros((4, 3)), np.ones((4, 3))
    scores[2:, 1] = bad
    message = rf"2 scores are not finite, the first is {bad}, of sample 2, class 1"
    for measure in (
        lambda: average_precisions(scores, labels),
        # nor where its label is unknown
        lambda: evaluate(scores, labels, threshold=0.5, ignore=scores != 0),
        lambda: top_k(scores, 2),
    ):
        with pytest.raises(InputError, match=message):
            measure()
    with pytest.raises(InputError, match=r"of image 'c\.jpg', class 'cat'"):
        check_finite(
            scores, ids=["a.jpg", "b.jpg", "c.jpg", "d.jpg"], class_names=["dog", "cat", "z"]
        )
    for measure in (average_precision, best_f1_threshold):
        with pytest.raises(InputError, match="of sample 2"):
            measure(scores[:, 1], labels[:, 1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 20), c=st.integers(1, 6))
def test_f1_equals_scikit_learn(seed, n, c):
    rng = np.random.default_rng(seed)
    decisions, labels = rng.random((n, c)) < 0.4, rng.random((n, c)) < 0.4
    result = f1_scores(decisions, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        micro = precision_recall_fscore_support(
            labels.ravel(), decisions.ravel(), average="binary", zero_division=np.nan
        )
        # what is undefined is left out of the averages
        cp, cr = (
            np.nanmean(
                [measure(labels[:, i], decisions[:, i], zero_division=np.nan) for i in range(c)]
            )
            for measure in (precision_score, recall_score)
        )
    assert (result.op, result.or_, result.of1) == pytest.approx(
        [100 * v for v in micro[:3]], nan_ok=True
    )
    assert (result.cp, result.cr) == pytest.approx((100 * cp, 100 * cr), nan_ok=True)
    if cp + cr > 0:
        assert result.cf1 == pytest.approx(100 * 2 * cp * cr / (cp + cr))


def test_absent_classes_do_not_spoil_a_perfect_predictor():
    labels = np.array([[1, -1, -1], [-1, 1, -1], [1, 1, -1]])
    perfect = f1_scores(labels > 0, labels)
    assert (perfect.of1, perfect.cf1) == (100, 100)
    assert (perfect.cp_classes, perfect.cr_classes) == (2, 2)
    silent = f1_scores(np.zeros((3, 3)), labels)  # finds nothing
    assert (silent.of1, silent.cf1, silent.cr) == (0, 0, 0)
    false_alarm = f1_scores((labels > 0) | [False, False, True], labels)
    assert false_alarm.cp == pytest.approx(200 / 3)  # a class without a positive can be wrong
    assert false_alarm.cr == 100
    nothing = f1_scores(np.zeros((3, 3)), -np.ones((3, 3)))
    assert np.isnan([nothing.of1, nothing.cf1]).all()


def test_unknown_labels_are_neither_decided_nor_missed():
    scores = np.array([[0.9, 0.1, 0.8, 0.7, 0.2]])
    labels = np.array([[1, -1, 0, 0, 0]])
    unknown = labels == 0
    assert top_k(scores, 3, ignore=unknown).tolist() == [[True, True, False, False, False]]
    result = evaluate(scores, labels, threshold=0.5, ignore=unknown)
    assert (result.f1.op, result.f1.or_) == (100, 100)
    assert (result.f1_top3.op, result.f1_top3.or_) == (50, 100)  # two are known, both named


def test_top_3_asks_for_no_least_score():
    assert top_k(np.array([[-3.0, -1.0, -2.0, -9.0]]), 3).tolist() == [[True, True, True, False]]


def test_without_a_threshold_there_is_no_f1():
    result = evaluate(np.eye(2), np.eye(2), threshold=float("nan"))
    assert np.isnan([result.f1.of1, result.f1.cf1]).all()
    assert result.mAP == 100


def test_top_k_takes_the_highest_and_breaks_ties_by_class():
    decided = top_k(np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]]), 2)
    assert decided.tolist() == [[False, True, True, False], [True, True, False, False]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), levels=st.integers(1, 20))
def test_best_threshold_is_no_worse_than_any_other(seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (6, 4)).astype(float)
    labels = rng.integers(0, 2, (6, 4))
    labels[0, 0] = 1
    chosen = f1_scores(scores >= best_f1_threshold(scores, labels), labels).of1
    assert all(chosen >= f1_scores(scores >= t, labels).of1 - 1e-9 for t in np.unique(scores))


def test_class_without_positives_is_left_out_of_map():
    scores = np.array([[0.9, 0.1], [0.1, 0.2]])
    labels = np.array([[1, -1], [-1, -1]])
    result = evaluate(scores, labels, threshold=0.5)
    assert result.mAP == 100
    assert np.isnan(result.per_class_ap[1])


def test_difficult_objects_are_negatives_unless_ignored():
    scores = np.array([[0.9], [0.8], [0.7]])
    labels = np.array([[0], [1], [-1]])
    assert average_precisions(scores, labels)[0] == pytest.approx(50)
    assert average_precisions(scores, labels, ignore=labels == 0)[0] == pytest.approx(100)


@pytest.mark.parametrize(
    "call",
    [
        lambda: average_precision(np.zeros(3), np.zeros(4)),
        lambda: average_precisions(np.zeros((3, 2)), np.zeros((3, 3))),
        lambda: average_precisions(np.zeros((3, 2)), np.zeros((3, 2)), ignore=np.zeros((3, 1))),
        lambda: f1_scores(np.zeros((3, 2)), np.zeros((2, 2))),
        lambda: best_f1_threshold(np.zeros((3, 2)), np.zeros((2, 3))),
    ],
)
def test_labels_of_another_shape_are_refused(call):
    with pytest.raises(InputError, match=r"scores are \(3.*, and what goes with them \("):
        call()
