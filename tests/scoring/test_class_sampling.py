"""A draw of classes gives the whole loss and gradient in the mean."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tai_dpt.errors import InputError
from tai_dpt.scoring.class_sampling import draw_classes
from tai_dpt.scoring.losses import ranking_loss


def batch(classes: int, named: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(6, classes)
    labels[torch.arange(named) % 6, torch.randperm(classes, generator=generator)[:named]] = 1
    return torch.randn(6, classes, generator=generator).double(), labels


@pytest.mark.parametrize("named", [1, 3, 6, 9, 12])  # of 12, with 6 places
def test_the_mean_over_many_draws_is_the_whole_loss_and_gradient(named: int) -> None:
    scores, labels = batch(12, named)
    whole = scores.clone().requires_grad_()
    expected = ranking_loss(whole, labels)
    expected.backward()
    total, gradient, draws = 0.0, torch.zeros_like(scores), 6000
    generator = torch.Generator().manual_seed(1)
    for _ in range(draws):
        draw = draw_classes(labels.any(dim=0), 6, generator=generator)
        own = scores[:, draw.classes].requires_grad_()
        loss = ranking_loss(own, labels[:, draw.classes], weights=draw.pair_weights)
        loss.backward()
        total += loss.item() / draws
        gradient[:, draw.classes] += own.grad / draws
    assert total == pytest.approx(expected.item(), rel=0.04)
    assert float((gradient - whole.grad).norm() / whole.grad.norm()) < 0.06


@pytest.mark.parametrize("named", [2, 9])
def test_a_sum_over_classes_is_unbiased_too(named: int) -> None:
    values, labels = batch(12, named)
    generator, draws, total = torch.Generator().manual_seed(2), 6000, torch.zeros(6).double()
    for _ in range(draws):
        draw = draw_classes(labels.any(dim=0), 6, generator=generator)
        total += (values[:, draw.classes] * draw.class_weights).sum(dim=1) / draws
    assert float((total - values.sum(dim=1)).abs().max()) < 0.15


@settings(max_examples=60)
@given(st.integers(3, 40), st.integers(0, 40), st.integers(3, 50), st.integers(0, 2**31))
def test_a_draw_has_its_size_no_class_twice_and_what_is_named_first(
    classes: int, named: int, places: int, seed: int
) -> None:
    _, labels = batch(classes, min(named, classes), seed=seed)
    mask = labels.any(dim=0)
    draw = draw_classes(mask, places, generator=torch.Generator().manual_seed(seed))
    assert len(draw.classes) == len(draw.classes.unique()) == min(places, classes)
    assert torch.equal(draw.classes, draw.classes.sort().values)
    assert (
        bool(torch.isfinite(draw.pair_weights).all()) and float(draw.pair_weights.min()) >= 1 - 1e-6
    )
    if int(mask.sum()) <= places - max(1, places // 4):
        assert set(mask.nonzero().flatten().tolist()) <= set(draw.classes.tolist())
    if places >= classes:
        assert torch.equal(draw.pair_weights, torch.ones(classes))


def test_the_same_seed_draws_the_same() -> None:
    mask = batch(50, 9)[1].any(dim=0)
    one, two = (
        draw_classes(mask, 20, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(one.classes, two.classes) and torch.equal(one.pair_weights, two.pair_weights)


def test_too_few_places() -> None:
    with pytest.raises(InputError, match="2 classes a step are too few; at least 3"):
        draw_classes(torch.ones(9, dtype=torch.bool), 2, generator=torch.Generator())
