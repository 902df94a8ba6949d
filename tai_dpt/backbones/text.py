"""CLIP's text encoder, dense and at every text's own length.

CLIP's text transformer is causal: tokens after EOS change nothing before it. So a text is run
at its own length instead of at 77 positions, and every position's output is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.blocks import Block, block_prefixes, layer_norm
from tai_dpt.backbones.linear import linear
from tai_dpt.features.packed import PackedFeatures, row_numbers, row_offsets
from tai_dpt.features.types import Features

# Tokens of many texts that are run together: enough for full speed, few enough for the caches.
TOKENS_AT_ONCE = 2048


class FrozenText(nn.Module):
    """What all text towers are, this project's and those of libraries."""

    causal: bool
    every_token: bool  # has a feature
    token_table: Tensor  # (V, W)

    @property
    def width(self) -> int:
        return self.token_table.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """What the tower computes in; features come out in fp32 all the same."""
        return self.token_table.dtype

    @property
    def device(self) -> torch.device:
        return self.token_table.device

    def encode_packed(
        self, texts: Sequence[Sequence[int]], *, tokens_per_batch: int = TOKENS_AT_ONCE
    ) -> PackedFeatures:
        raise NotImplementedError

    def encode(
        self, texts: Sequence[Sequence[int]], *, tokens_per_batch: int = TOKENS_AT_ONCE
    ) -> Features:
        """As ``encode_packed``, side by side."""
        return self.encode_packed(texts, tokens_per_batch=tokens_per_batch).padded()


class TextEncoder(FrozenText):
    """CLIP's frozen text tower. All weights are buffers that stay out of checkpoints."""

    causal = True
    every_token = True
    positions: Tensor  # (77, W)
    ln_final_weight: Tensor
    ln_final_bias: Tensor
    projection: Tensor  # (W, D)

    def __init__(
        self, state: MutableMapping[str, Tensor], *, heads: int, activation: str = "quick_gelu"
    ) -> None:
        """
        Args:
            state: in OpenAI's layout; the text tower's tensors are taken out of it and changed.
            heads: number of attention heads.
            activation: one of ``blocks.ACTIVATIONS``.
        """
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(state, prefix, heads=heads, causal=True, activation=activation)
            for prefix in block_prefixes(state, "transformer.resblocks.")
        )
        weights = {
            "token_table": "token_embedding.weight",
            "positions": "positional_embedding",
            "ln_final_weight": "ln_final.weight",
            "ln_final_bias": "ln_final.bias",
            "projection": "text_projection",
        }
        for name, key in weights.items():
            self.register_buffer(name, state.pop(key).detach(), persistent=False)

    @property
    def layers(self) -> list[Block]:
        """The blocks, first to last."""
        return cast("list[Block]", list(self.blocks))

    @property
    def context_length(self) -> int:
        """The most tokens a text may have, SOS and EOS included (77 for CLIP)."""
        return len(self.positions)

    @property
    def embed_dim(self) -> int:
        return self.projection.shape[1]

    def rows_of(self, length: int) -> int:
        """How many positions a text of so many tokens costs."""
        return length

    def local_lengths(self, texts: Sequence[Sequence[int]]) -> list[int]:
        """How many local features each tokenised text has: one a token."""
        return [len(text) for text in texts]

    def project(self, x: Tensor) -> Tensor:
        """The joint space's vectors (…, D) of last hidden states (…, W); fp32, not normalised."""
        normed = layer_norm(x, self.ln_final_weight, self.ln_final_bias)
        return linear(normed, self.projection.t()).float()

    def forward(self, tokens: Tensor) -> Tensor:
        """Every position's projected output (B, L, D) of token ids (B, L); fp32.

        Positions after a text's EOS are to be ignored; those up to it do not depend on them.
        """
        return self.project(self._hidden(tokens))

    def _hidden(self, tokens: Tensor) -> Tensor:
        """Every position's last hidden state (B, L, W)."""
        x = self.token_table[tokens] + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return x

    @torch.no_grad()
    def encode_packed(
        self, texts: Sequence[Sequence[int]], *, tokens_per_batch: int = TOKENS_AT_ONCE
    ) -> PackedFeatures:
        """Features of tokenised texts, without padding: global at EOS, local from SOS to EOS.

        Args:
            texts: token ids of each text, [SOS … EOS], at most ``context_length`` of them.
            tokens_per_batch: texts of like length are run together, up to so many positions.
        """
        lengths = torch.tensor([len(text) for text in texts])
        offsets = row_offsets(lengths)
        local = torch.empty(int(offsets[-1]), self.embed_dim, device=self.device)
        for rows in batches_of_like_length(texts, tokens_per_batch):
            chosen = torch.tensor(rows)
            longest = int(lengths[chosen].max())
            padded = torch.tensor(
                [[*texts[row], *[0] * (longest - len(texts[row]))] for row in rows]
            )
            hidden = self._hidden(padded.to(self.device)).flatten(0, 1)  # (b · L, W)
            if len(hidden) > int(lengths[chosen].sum()):
                starts = torch.arange(len(rows)) * longest
                hidden = hidden[row_numbers(starts, lengths[chosen]).to(self.device)]
            target = row_numbers(offsets[chosen], lengths[chosen]).to(self.device)
            local.index_copy_(0, target, F.normalize(self.project(hidden), dim=-1))
        return PackedFeatures(local[(offsets[1:] - 1).to(self.device)], local, lengths)


def batches_of_like_length(
    texts: Sequence[Sequence[int]], tokens_per_batch: int
) -> Iterator[list[int]]:
    """Indices of ``texts`` by falling length, cut where a padded batch would outgrow the budget."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    while order:
        size = max(1, tokens_per_batch // len(texts[order[0]]))
        yield order[:size]
        order = order[size:]
