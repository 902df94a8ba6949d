"""One scoring function for captions and images (paper, equations 1-4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tai_dpt.features import Features


@dataclass(frozen=True)
class Scores:
    """Class scores of a batch, (B, C) each."""

    global_: Tensor
    local: Tensor

    @property
    def merged(self) -> Tensor:
        """TaI-DPT's prediction, the mean of the two."""
        return (self.global_ + self.local) / 2


def global_scores(global_: Tensor, embeddings: Tensor, *, scale: float | Tensor) -> Tensor:
    """``κ · g · G``: (B, C) from global features (B, D) and class embeddings (C, D)."""
    return scale * (global_ @ embeddings.T)


def local_scores(
    similarity: Tensor,
    mask: Tensor,
    *,
    scale: float | Tensor,
    sharpness: float | Tensor,
    values: Tensor | None = None,
) -> Tensor:
    """``κ Σ_j softmax_j(β a_j) v_j`` over local positions; (B, C).

    Args:
        similarity: ``a`` (B, N, C), each position's similarity to each class.
        mask: (B, N), False where a position is padding; such positions get weight 0.
        scale: ``κ``.
        sharpness: ``β``; the larger, the closer to the best position alone.
        values: what is averaged, ``a`` itself when None (B, N, C).
    """
    logits = (sharpness * similarity).masked_fill(~mask[..., None], -math.inf)
    weights = logits.softmax(dim=1)
    return scale * (weights * (similarity if values is None else values)).sum(dim=1)


def score(
    features: Features,
    global_embeddings: Tensor,
    local_embeddings: Tensor,
    *,
    scale: float | Tensor,
    sharpness: float | Tensor,
) -> Scores:
    """Global and local scores of captions or images, they are treated alike.

    Args:
        features: of ``B`` captions or images.
        global_embeddings, local_embeddings: L2-normalised class embeddings (C, D).
        scale: ``κ``.
        sharpness: ``β``, the inverse of the paper's temperature τ_s.
    """
    similarity = features.local @ local_embeddings.T
    return Scores(
        global_scores(features.global_, global_embeddings, scale=scale),
        local_scores(similarity, features.mask, scale=scale, sharpness=sharpness),
    )


def dual_scores(
    features: Features,
    positive: Tensor,
    negative: Tensor,
    *,
    scale: float | Tensor,
    sharpness: float | Tensor,
) -> Scores:
    """DualCoOp's logits: how much more a class's positive prompt fits than its negative one.

    The spatial weights come from the positive prompts and serve both (DualCoOp, equation 4).
    """
    similarity = features.local @ positive.T
    difference = similarity - features.local @ negative.T
    return Scores(
        global_scores(features.global_, positive - negative, scale=scale),
        local_scores(
            similarity, features.mask, scale=scale, sharpness=sharpness, values=difference
        ),
    )


def heat_map(features: Features, local_embeddings: Tensor) -> Tensor:
    """Each local position's similarity to each class, (B, N, C); NaN where masked (figure 4)."""
    similarity = features.local @ local_embeddings.T
    return similarity.masked_fill(~features.mask[..., None], torch.nan)
