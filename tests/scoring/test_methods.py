"""The methods after the paper, each against a slow plain version: loops, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tai_dpt.errors import InputError
from tai_dpt.features import Features
from tai_dpt.scoring.concepts import ContextTable, class_concepts, context_guided_scores
from tai_dpt.scoring.cooccurrence import (
    RankFusion,
    companions,
    conditional_frequencies,
    often_includes_prompts,
    pairs_of,
)
from tai_dpt.scoring.linear_head import add_noise, linear_head_scores
from tai_dpt.scoring.patch_classifier import (
    PatchClassifier,
    PatchSetting,
    SurestPatches,
    patch_setting,
)
from tai_dpt.scoring.rectification import RECTIFICATIONS, check_rectification, rectify

SEEDS = st.integers(0, 2**31)


def unit(*shape: int, seed: int) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return F.normalize(values, dim=-1)


def some_features(seed: int, *, batch: int = 3, positions: int = 4, width: int = 6) -> Features:
    lengths = torch.arange(batch) % positions + 1
    mask = torch.arange(positions) < lengths[:, None]
    local = unit(batch, positions, width, seed=seed + 1) * mask[..., None]
    return Features(unit(batch, width, seed=seed), local, mask)


# -- rectification -----------------------------------------------------------------------------


@given(SEEDS, st.integers(2, 12))
def test_rectification_is_what_the_formula_says(seed: int, classes: int) -> None:
    scores = torch.randn(3, classes, generator=torch.Generator().manual_seed(seed)).double()
    rectified = [rectify(scores, how, sharpness=7.0) for how in RECTIFICATIONS]
    for row, *out in zip(scores, *rectified, strict=True):
        values = row.tolist()
        mean = sum(values) / classes
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (classes - 1))
        log_sum = math.log(sum(math.exp(7 * v) for v in values))
        for c, value in enumerate(values):
            expected = (value, value - mean, (value - mean) / deviation, 7 * value - log_sum)
            assert [float(each[c]) for each in out] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("how", RECTIFICATIONS[1:])
def test_a_shift_of_an_image_changes_nothing_and_order_within_it_stays(how: str) -> None:
    scores = unit(5, 9, seed=0)
    shifted = rectify(scores + torch.arange(5.0)[:, None], how)
    torch.testing.assert_close(rectify(scores, how), shifted)
    assert torch.equal(shifted.argsort(dim=1), scores.argsort(dim=1))


def test_equal_scores_and_few_classes() -> None:
    assert torch.equal(rectify(torch.full((2, 3), 5.0), "standardise"), torch.zeros(2, 3))
    with pytest.raises(InputError, match="valid: none, centre, standardise, softmax"):
        check_rectification("mean", classes=9)
    with pytest.raises(InputError, match="one class has no deviation"):
        check_rectification("standardise", classes=1)
    with pytest.warns(UserWarning, match="noisy with 3 classes"):
        check_rectification("centre", classes=3)


# -- concepts ----------------------------------------------------------------------------------


@given(SEEDS)
def test_concepts_are_normalised_means_however_the_corpus_is_cut(seed: int) -> None:
    features, fallback = unit(20, 6, seed=seed), unit(4, 6, seed=seed + 1)
    labels = torch.randint(0, 2, (20, 4), generator=torch.Generator().manual_seed(seed))
    labels[:, 3] = 0
    cuts = [(features[a:b], labels[a:b]) for a, b in ((0, 1), (1, 12), (12, 20))]
    found = class_concepts(cuts, fallback=fallback)
    for c in range(3):
        mean = sum((features[i] for i in range(20) if labels[i, c]), torch.zeros(6).double())
        torch.testing.assert_close(found[c], mean / mean.norm() if mean.norm() else fallback[c])
    assert torch.equal(found[3], fallback[3])


def slowly_guided(v: torch.Tensor, cube: torch.Tensor, alpha: float) -> torch.Tensor:
    """One feature (D,), sides in turn, entry by entry."""
    table = cube
    while table.dim() > 1:
        mixed = torch.zeros(table.shape[1:]).double()
        for place in np.ndindex(*table.shape[1:-1]):
            column = table[(slice(None), *place)]  # (m, D)
            weights = (alpha * column @ v).exp()
            mixed[place] = sum(w * row for w, row in zip(weights, column, strict=True))
            mixed[place] /= weights.sum()
        table = mixed
    return table / table.norm()


@settings(max_examples=10)
@given(SEEDS)
def test_context_guided_features(seed: int) -> None:
    captions, concepts = unit(30, 6, seed=seed), unit(3, 6, seed=seed + 1)
    table = ContextTable.of(captions, seed=seed)
    assert table.cube.shape == (3, 3, 3, 6)
    features = some_features(seed + 2)
    scores = context_guided_scores(
        features, concepts, table, sharpness_global=8.0, sharpness_local=4.0
    )
    for b in range(3):
        guided = slowly_guided(features.global_[b], table.cube, 8.0)
        torch.testing.assert_close(scores.global_[b], concepts @ guided)
        own = [j for j in range(4) if features.mask[b, j]]
        local = torch.stack([slowly_guided(features.local[b, j], table.cube, 4.0) for j in own])
        similarity = local @ concepts.T  # (N, C)
        weights = similarity.exp() / similarity.exp().sum(0)
        torch.testing.assert_close(scores.local[b], (weights * similarity).sum(0))


def test_the_table_is_the_same_for_the_same_seed_and_no_larger_than_the_captions() -> None:
    captions = unit(64, 5, seed=0)
    cubes = [ContextTable.of(captions, seed=1).cube for _ in range(2)]
    assert torch.equal(*cubes)
    assert ContextTable.of(captions[:63], seed=1).cube.shape[0] == 3
    rows = {tuple(row) for row in cubes[0].flatten(0, 2).tolist()}
    assert rows == {tuple(row) for row in captions.tolist()}
    with pytest.raises(InputError, match="7 captions are too few"):
        ContextTable.of(captions[:7], seed=1)


# -- the linear head ---------------------------------------------------------------------------


@given(SEEDS)
def test_linear_head_scores(seed: int) -> None:
    features, texts = some_features(seed), unit(3, 6, seed=seed + 5)
    head = unit(3, 6, seed=seed + 9) * 2
    scores = linear_head_scores(features, head, texts, weight=0.3, scale=100.0)

    def z(v: torch.Tensor) -> torch.Tensor:
        weights = (100 * (texts @ v)).softmax(0)
        m = sum(w * t for w, t in zip(weights, texts, strict=True))
        return head @ (0.7 * v + 0.3 * m / m.norm())

    for b in range(3):
        torch.testing.assert_close(scores.global_[b], z(features.global_[b]))
        local = torch.stack(
            [z(v) for v, real in zip(features.local[b], features.mask[b], strict=True) if real]
        )
        torch.testing.assert_close(scores.local[b], local.max(0).values)


def test_noise_has_its_deviation_and_is_drawn_by_the_generator() -> None:
    x = torch.ones(200, 50)
    noisy = [add_noise(x, 0.1, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*noisy)
    assert float((noisy[0] - x).std()) == pytest.approx(0.1, rel=0.02)


# -- co-occurrence -----------------------------------------------------------------------------


def test_companions_by_hand() -> None:
    labels = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 0, 0]])
    frequencies = conditional_frequencies(labels)
    np.testing.assert_allclose(frequencies, [[0, 0.5, 0.25], [1, 0, 0], [1, 0, 0]])
    assert companions(frequencies, at_least=0.3, most=2) == [[1], [0], [0]]
    assert companions(frequencies, at_least=0.05, most=1) == [[1], [0], [0]]
    assert pairs_of([[1, 2], [0], [0]]) == [(0, 1), (0, 2)]
    assert often_includes_prompts(["dog", "ball", "sky"], [[1, 2], [], []]) == [
        "A photo of a dog often includes a ball, a sky",
        "A photo of a ball",
        "A photo of a sky",
    ]


@given(SEEDS)
def test_rank_fusion(seed: int) -> None:
    pairs = [(0, 1), (0, 2)]
    pool, pair_pool = unit(8, 4, seed=seed), unit(8, 2, seed=seed + 1)
    fuse = RankFusion(classes=4, pairs=pairs, pool=pool, pair_pool=pair_pool)
    scores, pair_scores = unit(3, 4, seed=seed + 2), unit(3, 2, seed=seed + 3)
    found = fuse(scores, pair_scores)
    for i in range(3):
        own = [float((scores[i, c] - pool[:, c].mean()) / pool[:, c].std()) for c in range(4)]
        both = [
            float((pair_scores[i, k] - pair_pool[:, k].mean()) / pair_pool[:, k].std())
            for k in range(2)
        ]
        for c in range(4):
            compounds = [both[k] for k, pair in enumerate(pairs) if c in pair]
            mean = sum(compounds) / len(compounds) if compounds else own[c]
            assert float(found[i, c]) == pytest.approx((own[c] + mean) / 2, abs=1e-9)


# -- the patch classifier ----------------------------------------------------------------------

SETTING = PatchSetting(refine_sharpness=2.0, local_sharpness=5.0, global_sharpness=3.0)


def test_the_surest_patches_are_kept_however_they_come() -> None:
    texts, patches = unit(3, 6, seed=0).float(), unit(200, 6, seed=1).float()
    kept = []
    for cuts in ([200], [7, 93, 100]):
        surest = SurestPatches(texts, per_class=5)
        for part in patches.split(cuts):
            surest.add(part)
        kept.append(surest.kept())
    for one, two in zip(*kept, strict=True):
        torch.testing.assert_close(one, two)
    features, classes, confidences = kept[0]
    p = (60 * patches @ texts.T).softmax(1)
    entropy = -(p * p.clamp(min=1e-30).log()).sum(1)
    for c in range(3):
        own = (p.argmax(1) == c).nonzero().flatten()
        best = own[entropy[own].argsort()[:5]]
        found = {tuple(row) for row in features[classes == c].tolist()}
        assert found == {tuple(row) for row in patches[best].tolist()}
        assert sorted(confidences[classes == c].tolist()) == pytest.approx(
            sorted(p[best, c].tolist()), abs=1e-5
        )


def slow_estimate(x, classes, weights, texts):
    count, width = texts.shape
    means = []
    for c in range(count):
        own = [i for i in range(len(x)) if int(classes[i]) == c]
        mass = sum(float(weights[i]) for i in own)
        means.append(sum(float(weights[i]) * x[i] for i in own) / mass if own else texts[c])
    mu = np.stack(means)
    covariance = np.zeros((width, width))
    for i in range(len(x)):
        d = x[i] - mu[int(classes[i])]
        covariance += np.outer(d, d) / (len(x) - 1)
    inner = (len(x) - 1) * covariance + np.trace(covariance) * np.eye(width)
    inverse = width * np.linalg.pinv(inner)
    return mu @ inverse, np.array([-math.log(count) - 0.5 * m @ inverse @ m for m in mu])


def test_the_patch_classifier_against_loops() -> None:
    texts, patches = unit(3, 6, seed=2).float(), unit(90, 6, seed=3).float()
    surest = SurestPatches(texts)
    surest.add(patches)
    x, classes, weights = (each.double().numpy() for each in surest.kept())
    first, bias = slow_estimate(x, classes, weights, texts.double().numpy())
    logits = 2.0 * (x @ first.T + bias)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    again, sure = p.argmax(1), []
    for i in range(len(x)):
        own = p.max(1)[again == again[i]]
        sure.append(p[i].max() >= min(own.mean() + own.std(), own.max()))
    sure = np.array(sure)
    weight, bias = slow_estimate(x[sure], again[sure], p.max(1)[sure], texts.double().numpy())

    found = PatchClassifier.fit(texts, [patches], setting=SETTING)
    np.testing.assert_allclose(found.weight, weight, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.bias, bias, rtol=1e-3)

    features = some_features(7)
    features = Features(features.global_.float(), features.local.float(), features.mask)
    scores = found.scores(features, texts, setting=SETTING)
    for b in range(3):
        best = np.zeros(3)
        for j in range(4):
            if features.mask[b, j]:
                z = (weight @ features.local[b, j].double().numpy() + bias) / 500
                best = np.maximum(best, np.exp(z) / np.exp(z).sum())
        local = np.exp(5 * best) / np.exp(5 * best).sum()
        whole = np.exp(3 * (texts @ features.global_[b]).double().numpy())
        np.testing.assert_allclose(scores.local[b], local, rtol=1e-4)
        np.testing.assert_allclose(scores.global_[b], whole / whole.sum(), rtol=1e-4)
        np.testing.assert_allclose(
            scores.merged[b], 0.9 * local + 0.1 * whole / whole.sum(), rtol=1e-4
        )


def test_a_sharp_second_look_still_makes_a_classifier() -> None:
    texts, patches = unit(3, 6, seed=2).float(), unit(90, 6, seed=3).float()
    sharp = PatchSetting(refine_sharpness=500.0, local_sharpness=5.0, global_sharpness=3.0)
    assert PatchClassifier.fit(texts, [patches], setting=sharp).weight.norm(dim=1).min() > 0


def test_patches_that_are_one_of_a_class_do_not_say_how_they_differ() -> None:
    texts = torch.eye(3)
    sides = F.normalize(texts + torch.tensor([0.0, 0.1, 0.3]), dim=1)
    blurred = patch_setting("coco2014")  # sure of one patch of each class: what came first stays
    found = PatchClassifier.fit(texts, [torch.cat([texts, sides])], setting=blurred)
    assert found.weight.norm(dim=1).min() > 0
    assert found.logits(texts).argmax(dim=1).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="no two patches of the images differ"):
        PatchClassifier.fit(texts, [texts.repeat(4, 1)], setting=blurred)


def test_the_published_settings_by_name() -> None:
    assert patch_setting("coco2014") == PatchSetting(0.01, 400.0, 80.0)
    with pytest.raises(InputError, match="valid: voc2007, coco2014, nuswide"):
        patch_setting("coco")
