"""Slow, plain versions of the mathematics, to hold the fast ones against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tai_dpt.backbones.text import TextEncoder
from tai_dpt.prompts.learner import ClassTokens

CONTEXT = 77


def class_embeddings(
    text: TextEncoder,
    classes: list[ClassTokens],
    context: Tensor,
    *,
    start_id: int,
    position: str,
) -> Tensor:
    """Class embeddings (C, D): every prompt at 77 positions, each through the whole encoder.

    ``context`` is (M, W) or (C, M, W).
    """
    contexts = context.expand(len(classes), *context.shape[-2:])
    rows, ends = [], []
    for tokens, own in zip(classes, contexts, strict=True):
        name = text.token_table[list(tokens.name_ids)]
        tail = text.token_table[list(tokens.tail_ids)]
        start = text.token_table[[start_id]]
        half = len(own) // 2
        order = {
            "end": [start, own, name, tail],
            "middle": [start, own[:half], name, own[half:], tail],
            "front": [start, name, own, tail],
        }[position]
        prompt = torch.cat(order)
        ends.append(len(prompt) - 1)
        rows.append(F.pad(prompt, (0, 0, 0, CONTEXT - len(prompt))))
    x = torch.stack(rows) + text.positions
    for block in text.blocks:
        x = block(x)
    return text.project(x)[torch.arange(len(classes)), torch.tensor(ends)]


def ranking_loss(scores: Tensor, labels: Tensor, margin: float) -> Tensor:
    """The sum over all pairs, term by term."""
    total = scores.new_zeros(())
    for row, truth in zip(scores, labels, strict=True):
        for i in (truth > 0).nonzero().flatten():
            for j in (truth <= 0).nonzero().flatten():
                total = total + (margin - row[i] + row[j]).clamp(min=0)
    return total / len(scores)


def local_score(local: Tensor, embeddings: Tensor, scale: float, sharpness: float) -> Tensor:
    """Local scores (C,) of one sample's real positions (N, D)."""
    similarity = local @ embeddings.T
    weights = (sharpness * similarity).exp()
    return scale * (weights * similarity).sum(0) / weights.sum(0)
