"""CoMC: scores of a linear head that learned from noisy caption features (ICML 2024)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tai_dpt.features import AnyFeatures, PackedFeatures
from tai_dpt.scoring.scores import Scores


def add_noise(features: Tensor, deviation: float, *, generator: torch.Generator) -> Tensor:
    """Features with independent Gaussian noise, not normalised again.

    Training on captions that are spread a little bridges the gap between where CLIP puts texts
    and where it puts images. The noise is drawn on the CPU, so that it is the same on any device.

    >>> add_noise(torch.ones(2), 0.0, generator=torch.Generator())
    tensor([1., 1.])
    """
    if not deviation:
        return features
    noise = torch.randn(features.shape, generator=generator)
    return features + deviation * noise.to(features.device, features.dtype, non_blocking=True)


def towards_text(
    features: Tensor, class_embeddings: Tensor, *, weight: float, scale: float
) -> Tensor:
    """``(1 − w) v + w m``, ``m = normalise(Σ_c softmax_c(scale · v·t_c) t_c)``; (…, D).

    An image's feature moved towards the texts that it resembles; not normalised again.

    Args:
        features: ``v`` (…, D), L2-normalised.
        class_embeddings: ``t`` (C, D) of the classes' templates, L2-normalised.
        weight: ``w``, 0.3 in the paper.
        scale: of the softmax, 100 in the paper.

    >>> towards_text(torch.tensor([[0.6, 0.8]]), torch.tensor([[0.0, 1.0]]), weight=0.5, scale=100)
    tensor([[0.3000, 0.9000]])
    """
    mixed = (scale * (features @ class_embeddings.T)).softmax(dim=-1) @ class_embeddings
    return (1 - weight) * features + weight * F.normalize(mixed, dim=-1)


def linear_head_scores(
    features: AnyFeatures,
    head: Tensor,
    class_embeddings: Tensor,
    *,
    weight: float,
    scale: float,
) -> Scores:
    """Global scores, and the best over the local positions.

    Args:
        head: ``W`` (C, D).
        class_embeddings, weight, scale: see ``towards_text``.

    >>> from tai_dpt.features import Features
    >>> places = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    >>> image = Features(places[:, 0], places, torch.tensor([[True, True]]))
    >>> scores = linear_head_scores(image, torch.eye(2), torch.eye(2), weight=0.0, scale=100)
    >>> scores.global_, scores.local
    (tensor([[1., 0.]]), tensor([[1.0000, 0.8000]]))
    """
    padded = features.padded() if isinstance(features, PackedFeatures) else features

    def scores(values: Tensor) -> Tensor:
        return towards_text(values, class_embeddings, weight=weight, scale=scale) @ head.T

    local = scores(padded.local).masked_fill(~padded.mask[..., None], -math.inf)
    return Scores(scores(padded.global_), local.amax(dim=1))
