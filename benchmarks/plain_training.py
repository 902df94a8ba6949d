"""What the public code computes in a training step, written plainly; the slow side of the tables.

Every text runs at 77 tokens; the batch's captions go through the text encoder in every step, as
do both prompts of every class; the ranking loss is a B×C×C tensor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import EOS, N_CTX, SOS, Size

CONTEXT = 77


class PlainTraining:
    """Two contexts and the frozen CLIP that they are trained through."""

    def __init__(self, size: Size, name_ids: list[tuple[int, ...]], contexts: list[Tensor]) -> None:
        """``name_ids``: token ids of each class's name, "." included."""
        self.clip = size.clip_model().float().eval().requires_grad_(False)
        self.contexts = [context.clone().requires_grad_() for context in contexts]
        rows = [[SOS, *[0] * N_CTX, *ids, EOS] for ids in name_ids]
        self.ends = torch.tensor([len(row) - 1 for row in rows])
        padded = torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])
        self.frame = self.clip.token_embedding(padded)  # (C, 77, W), zeros' rows where contexts go

    def encode(self, embedded: Tensor) -> Tensor:
        """Every position's projected output, (n, 77, D), of token embeddings (n, 77, W)."""
        x = (embedded + self.clip.positional_embedding).permute(1, 0, 2)
        x = self.clip.transformer(x).permute(1, 0, 2)
        return self.clip.ln_final(x) @ self.clip.text_projection

    def prompts(self, context: Tensor) -> Tensor:
        """Class embeddings (C, D)."""
        count = len(self.frame)
        x = torch.cat(
            [self.frame[:, :1], context.expand(count, -1, -1), self.frame[:, 1 + N_CTX :]], dim=1
        )
        return F.normalize(self.encode(x)[torch.arange(count), self.ends], dim=-1)

    @torch.no_grad()
    def features(self, captions: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Every token's feature (B, 77, D), the one at EOS (B, D), and what is padding (B, 77)."""
        ids = torch.tensor([text + [0] * (CONTEXT - len(text)) for text in captions])
        local = F.normalize(self.encode(self.clip.token_embedding(ids)), dim=-1)
        return local, local[torch.arange(len(ids)), ids.argmax(dim=1)], ids == 0

    def loss(self, captions: list[list[int]], labels: Tensor) -> Tensor:
        """The training loss of tokenised captions and their labels (B, C)."""
        local, end, padding = self.features(captions)
        global_prompts, local_prompts = (self.prompts(context) for context in self.contexts)
        similarity = local @ local_prompts.T  # (B, 77, C)
        weights = (50 * similarity).masked_fill(padding[..., None], -1e4).softmax(dim=1)
        scores = 4 * end @ global_prompts.T, 4 * (weights * similarity).sum(dim=1)
        positive = (labels > 0).float()
        pairs = positive[:, :, None] * (1 - positive)[:, None, :]  # (B, C, C)
        losses = [((1 - s[:, :, None] + s[:, None, :]).clamp(min=0) * pairs).sum() for s in scores]
        return torch.stack(losses).sum() / len(labels)

    def step(self, captions: list[list[int]], labels: Tensor) -> float:
        """A step's loss and gradients, without the optimiser's few multiplications."""
        for context in self.contexts:
            context.grad = None
        loss = self.loss(captions, labels)
        loss.backward()
        return loss.item()
