"""The training losses of TaI-DPT and DualCoOp."""

from __future__ import annotations

import torch
from torch import Tensor


def ranking_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    margin: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Multi-label ranking loss (paper, equation 5), summed per sample, averaged over the batch.

    ``Σ_{i∈pos} Σ_{j∈neg} max(0, m − s_i + s_j)``. Captions name few classes, so it is computed
    over (positive, class) pairs; memory is (number of positives) × C instead of B × C × C.

    >>> scores = torch.tensor([[2.0, 1.5, 0.0]])  # the first class is named, the others are not
    >>> ranking_loss(scores, torch.tensor([[1, 0, 0]]))  # the second comes within the margin
    tensor(0.5000)

    Args:
        scores: (B, C).
        labels: (B, C), positive where > 0; on the CPU or with the scores. Which pairs there are
            is counted where they are: on the CPU no GPU is waited for.
        margin: ``m``.
        weights: (C,) of each class as the negative of a pair, where the classes are a draw
            (``tai_dpt.scoring.class_sampling``); 1 when None.
    """
    positive = labels > 0
    sample, which = positive.nonzero(as_tuple=True)  # (P,)
    positive, sample, which = (
        there.to(scores.device, non_blocking=True) for there in (positive, sample, which)
    )
    rows = scores.index_select(0, sample)  # (P, C)
    violations = (margin - rows.gather(1, which[:, None]) + rows).relu()
    counted = ~positive[sample]
    if weights is not None:
        counted = counted * weights.to(scores.device, non_blocking=True)
    return (violations * counted).sum() / len(scores)


def asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma_negative: float = 2.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
    weights: Tensor | None = None,
) -> Tensor:
    """Asymmetric loss over known labels (Ridnik et al. 2021, as in DualCoOp).

    Summed over the classes whose label is known, divided by the batch size.

    >>> logits = torch.tensor([[0.0, -5.0, 7.0]])
    >>> asymmetric_loss(logits, torch.tensor([[1, -1, 0]]))  # ½ · log 2; sure of the absent one
    tensor(0.3466)

    Args:
        logits: (B, C).
        labels: (B, C); 1 positive, −1 negative, 0 unknown; on any device.
        gamma_negative: focusing exponent γ⁻ of absent classes.
        gamma_positive: focusing exponent γ⁺ of present ones.
        clip: negatives whose probability is below it count nothing.
        weights: (C,) of each class, where the classes are a draw; 1 when None.
    """
    probability = logits.sigmoid()
    absence = (1 - probability + clip).clamp(max=1)
    labels = labels.to(logits.device, non_blocking=True)
    positive, negative = labels > 0, labels < 0
    with torch.no_grad():  # the focusing weights carry no gradient, as published
        focus = torch.where(
            positive, (1 - probability) ** gamma_positive, (1 - absence) ** gamma_negative
        )
    chosen = torch.where(positive, probability, absence).clamp(min=1e-8)
    loss = -focus * chosen.log() * (positive | negative)
    if weights is not None:
        loss = loss * weights.to(loss.device, non_blocking=True)
    return loss.sum() / len(logits)
