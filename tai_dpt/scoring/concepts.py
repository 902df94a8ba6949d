"""Class concepts: what the captions that name a class have in common, without any training.

The concept of a class is the mean of the global features of the captions that name it,
normalised. Images are scored with it as with any class embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.features import AnyFeatures, Features, PackedFeatures
from tai_dpt.scoring.scores import Scores, local_scores

# of one temporary (positions, captions / side, D): 256 MB in fp32
_MOST_VALUES = 1 << 26


def class_concepts(batches: Iterable[tuple[Tensor, Tensor]], *, fallback: Tensor) -> Tensor:
    """The concepts (C, D), L2-normalised, from one pass; memory does not grow with the corpus.

    Args:
        batches: global features (B, D) and labels (B, C), 1 where the caption names the class.
        fallback: class embeddings (C, D) for the classes that no caption names.

    >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> class_concepts([(features, torch.tensor([[1, 0], [1, 0]]))], fallback=torch.eye(2))
    tensor([[0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    sums = torch.zeros(fallback.shape, dtype=torch.float64)
    counts = torch.zeros(len(fallback), dtype=torch.int64)
    for features, labels in batches:
        named = (labels > 0).to("cpu", torch.float64)
        sums += named.T @ features.to("cpu", torch.float64)
        counts += named.sum(dim=0).to(torch.int64)
    found = F.normalize(sums, dim=1).to(fallback.dtype).to(fallback.device)
    return torch.where((counts > 0).to(fallback.device)[:, None], found, fallback)


@dataclass(frozen=True)
class ContextTable:
    """Caption features as a cube, in which an image's feature finds its context.

    A softmax over all captions at once would be spread thin; along one side of the cube at a
    time, each competes with few.

    Args:
        cube: (m, m, m, D) caption features, L2-normalised.
    """

    cube: Tensor

    @classmethod
    def of(cls, features: Tensor, *, seed: int) -> ContextTable:
        """The largest cube that (M, D) features fill, shuffled by ``seed``.

        Raises:
            InputError: fewer than 8 features.
        """
        side = round(len(features) ** (1 / 3))
        side -= side**3 > len(features)
        if side < 2:
            raise InputError(
                f"{len(features)} captions are too few for context-guided features; at least 8"
            )
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
        chosen = features[order[: side**3].to(features.device)]
        return cls(chosen.reshape(side, side, side, -1))

    def guide(self, features: Tensor, *, sharpness: float) -> Tensor:
        """``v ← Σ softmax(α g·v) v`` along each side of the cube in turn; L2-normalised.

        Args:
            features: ``g`` (P, D), L2-normalised.
            sharpness: ``α``.
        """
        per_position = self.cube[0].numel() * 2
        at_once = max(1, _MOST_VALUES // per_position)
        parts = [self._guide(part, sharpness) for part in features.split(at_once)]
        return F.normalize(torch.cat(parts), dim=1) if parts else features

    def _guide(self, features: Tensor, sharpness: float) -> Tensor:
        m = len(self.cube)
        weights = (sharpness * (features @ self.cube.flatten(0, 2).T)).view(-1, m, m, m)
        mixed = torch.einsum("pijk,ijkd->pjkd", weights.softmax(dim=1), self.cube)
        for _ in range(2):  # along the two sides that are left
            weights = sharpness * torch.einsum("pd,pj...d->pj...", features, mixed)
            mixed = (weights.softmax(dim=1)[..., None] * mixed).sum(dim=1)
        return mixed


def context_guided_scores(
    features: AnyFeatures,
    concepts: Tensor,
    table: ContextTable,
    *,
    sharpness_global: float,
    sharpness_local: float,
) -> Scores:
    """``cos(v, concept)``, and ``Σ_j softmax_j(s_j) s_j`` of the guided local features.

    Args:
        concepts: (C, D), L2-normalised.
        sharpness_global, sharpness_local: ``α`` of the global feature and of the local ones.

    >>> table = ContextTable.of(torch.tensor([[0.6, 0.8]]).expand(8, 2), seed=1)
    >>> image = Features(torch.eye(2)[:1], torch.eye(2)[None], torch.tensor([[True, True]]))
    >>> how = {"sharpness_global": 1.0, "sharpness_local": 1.0}
    >>> context_guided_scores(image, torch.eye(2), table, **how).global_  # all captions are alike
    tensor([[0.6000, 0.8000]])
    """
    padded = features.padded() if isinstance(features, PackedFeatures) else features
    global_ = table.guide(padded.global_, sharpness=sharpness_global)
    local = torch.zeros_like(padded.local)
    local[padded.mask] = table.guide(padded.local[padded.mask], sharpness=sharpness_local)
    guided = Features(global_, local, padded.mask)
    return Scores(
        guided.global_ @ concepts.T,
        local_scores(guided.local @ concepts.T, guided.mask, scale=1.0, sharpness=1.0),
    )
