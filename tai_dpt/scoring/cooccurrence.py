"""Which classes go together, counted in captions, and what scores gain by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PAIR_TEMPLATE = "{} and {}"


def co_occurrence(labels: Any) -> NDArray[np.int64]:
    """Captions that name both classes, (C, C); the diagonal is the captions of each class.

    Args:
        labels: (N, C) of 0 and 1, an array or one of scipy's sparse ones.

    >>> co_occurrence(np.array([[1, 1], [1, 0]]))
    array([[2, 1],
           [1, 1]])
    """
    wide = labels.astype(np.float32)  # counts below 2^24 are exact
    counts = wide.T @ wide
    dense = counts if isinstance(counts, np.ndarray) else counts.toarray()
    return np.asarray(dense).astype(np.int64)


def conditional_frequencies(labels: Any) -> NDArray[np.float64]:
    """``P(b | a)`` (C, C): of the captions that name class a, the share that name b too.

    Zero on the diagonal, and in the rows of classes that no caption names.

    >>> conditional_frequencies(np.array([[1, 1], [1, 0]]))
    array([[0. , 0.5],
           [1. , 0. ]])
    """
    together = co_occurrence(labels).astype(np.float64)
    counts = together.diagonal().copy()
    np.fill_diagonal(together, 0.0)
    shares: NDArray[np.float64] = together / np.maximum(counts, 1)[:, None]
    return shares


def companions(frequencies: NDArray[np.float64], *, at_least: float, most: int) -> list[list[int]]:
    """For each class, at most ``most`` classes b with ``P(b | a) > at_least``, the likeliest first.

    Equal frequencies go by the order of the classes.

    >>> frequencies = np.array([[0.0, 0.9, 0.5], [0.1, 0.0, 0.1], [0.0, 0.3, 0.0]])
    >>> companions(frequencies, at_least=0.2, most=1)
    [[1], [], [1]]
    """
    order = np.argsort(-frequencies, axis=1, kind="stable")[:, :most]
    return [[int(b) for b in row if frequencies[a, b] > at_least] for a, row in enumerate(order)]


def often_includes_prompts(names: Sequence[str], with_them: Sequence[Sequence[int]]) -> list[str]:
    """The prompts of DualPrompt (ICLR 2026): what often stands beside a class is said too.

    >>> often_includes_prompts(["fork", "knife", "sky"], [[1], [0], []])[::2]
    ['A photo of a fork often includes a knife', 'A photo of a sky']
    """
    prompts = []
    for name, others in zip(names, with_them, strict=True):
        beside = ", ".join(f"a {names[other]}" for other in others)
        often = f" often includes {beside}" if beside else ""
        prompts.append(f"A photo of a {name}{often}")
    return prompts


def pairs_of(with_them: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The unordered pairs (a < b) in which either class has the other as a companion.

    >>> pairs_of([[1], [], [1]])
    [(0, 1), (1, 2)]
    """
    return sorted({(min(a, b), max(a, b)) for a, others in enumerate(with_them) for b in others})


class RankFusion:
    """SPARC's fusion of a class's score with those of its compounds, "A and B" (CVPR 2025).

    Each column is standardised over a pool of unlabelled images (ddof 1), whose means and
    deviations are kept, so that single images can be scored later. A class's fused score is
    ``½ own + ½ mean over its compounds``; a class without any keeps its own.
    """

    def __init__(
        self, *, classes: int, pairs: Sequence[tuple[int, int]], pool: Tensor, pair_pool: Tensor
    ) -> None:
        """
        Args:
            pairs: the classes of each compound.
            pool: the pool's scores of the classes (n, C), n ≥ 2.
            pair_pool: its scores of the compounds (n, K).
        """
        self._own = _Standardiser(pool)
        self._compounds = _Standardiser(pair_pool)
        members = torch.zeros(len(pairs), classes, dtype=pool.dtype)
        for row, pair in enumerate(pairs):
            members[row, list(pair)] = 1
        self._alone = members.sum(dim=0) == 0  # (C,)
        self._mean = members / members.sum(dim=0).clamp(min=1)  # (K, C)

    def __call__(self, scores: Tensor, pair_scores: Tensor) -> Tensor:
        """Fused scores (n, C) of images by their scores (n, C) and the compounds' (n, K)."""
        own = self._own(scores)
        return torch.where(self._alone, own, (own + self._compounds(pair_scores) @ self._mean) / 2)


class _Standardiser:
    def __init__(self, pool: Tensor) -> None:
        self.mean = pool.mean(dim=0)
        self.deviation = pool.std(dim=0, correction=1).clamp(min=1e-12)

    def __call__(self, scores: Tensor) -> Tensor:
        return (scores - self.mean) / self.deviation
