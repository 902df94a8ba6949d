"""CLIP's text encoder, dense and at every text's own length.

CLIP's text transformer is causal: tokens after EOS change nothing before it. So a text is run
at its own length instead of at 77 positions, and every position's output is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.features.packed import PackedFeatures, row_numbers, row_offsets
from tai_dpt.features.types import Features

# QuickGELU is x·σ(1.702 x) = silu(1.702 x) / 1.702. With frozen weights the two factors go into
# the layers around it, and one fused operation is left.
_QUICK_GELU = 1.702

# Tokens of many texts that are run together: enough for full speed, few enough for the caches.
TOKENS_AT_ONCE = 2048


class TextBlock(nn.Module):
    """One frozen residual attention block, in the pieces that prompt encoding needs."""

    ln_1_weight: Tensor
    ln_1_bias: Tensor
    qkv_weight: Tensor
    qkv_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor
    ln_2_weight: Tensor
    ln_2_bias: Tensor
    fc_weight: Tensor
    fc_bias: Tensor
    proj_weight: Tensor
    proj_bias: Tensor

    def __init__(self, block: Any) -> None:
        """``block``: a ``ResidualAttentionBlock`` of the ``clip`` package."""
        super().__init__()
        attention = block.attn
        self.heads: int = attention.num_heads
        weights = {
            "ln_1_weight": block.ln_1.weight,
            "ln_1_bias": block.ln_1.bias,
            "qkv_weight": attention.in_proj_weight,
            "qkv_bias": attention.in_proj_bias,
            "out_weight": attention.out_proj.weight,
            "out_bias": attention.out_proj.bias,
            "ln_2_weight": block.ln_2.weight,
            "ln_2_bias": block.ln_2.bias,
            "fc_weight": block.mlp.c_fc.weight * _QUICK_GELU,
            "fc_bias": block.mlp.c_fc.bias * _QUICK_GELU,
            "proj_weight": block.mlp.c_proj.weight / _QUICK_GELU,
            "proj_bias": block.mlp.c_proj.bias,
        }
        for name, value in weights.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    def qkv(self, x: Tensor) -> Tensor:
        """Queries, keys and values (B, L, 3·W), side by side, of hidden states ``x`` (B, L, W)."""
        normed = layer_norm(x, self.ln_1_weight, self.ln_1_bias)
        return F.linear(normed, self.qkv_weight, self.qkv_bias)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add attention's output (B, L, W) to ``x`` (B, L, W), then the MLP's."""
        x = x + F.linear(attended, self.out_weight, self.out_bias)
        normed = layer_norm(x, self.ln_2_weight, self.ln_2_bias)
        hidden = F.silu(F.linear(normed, self.fc_weight, self.fc_bias))
        return x + F.linear(hidden, self.proj_weight, self.proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Causal self-attention over ``x`` (B, L, W), then the MLP."""
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, L, 3, heads, d)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.finish(x, attended.transpose(1, 2).flatten(2))


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer normalisation over the last axis; torch does it in single precision inside and
    rounds once, whatever ``x`` is in."""
    return F.layer_norm(x, weight.shape, weight, bias)


class TextEncoder(nn.Module):
    """CLIP's frozen text tower. All weights are buffers that stay out of checkpoints."""

    token_table: Tensor  # (V, W)
    positions: Tensor  # (77, W)
    ln_final_weight: Tensor
    ln_final_bias: Tensor
    projection: Tensor  # (W, D)

    def __init__(self, clip_model: Any) -> None:
        """``clip_model``: a ``clip.model.CLIP`` (any copy of that class)."""
        super().__init__()
        self.blocks = nn.ModuleList(TextBlock(b) for b in clip_model.transformer.resblocks)
        weights = {
            "token_table": clip_model.token_embedding.weight,
            "positions": clip_model.positional_embedding,
            "ln_final_weight": clip_model.ln_final.weight,
            "ln_final_bias": clip_model.ln_final.bias,
            "projection": clip_model.text_projection,
        }
        for name, value in weights.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    @property
    def layers(self) -> list[TextBlock]:
        """The blocks, first to last."""
        return cast("list[TextBlock]", list(self.blocks))

    @property
    def context_length(self) -> int:
        """The most tokens a text may have, SOS and EOS included (77 for CLIP)."""
        return len(self.positions)

    @property
    def width(self) -> int:
        return self.token_table.shape[1]

    @property
    def embed_dim(self) -> int:
        return self.projection.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """What the blocks compute in; projections come out in fp32 all the same."""
        return self.token_table.dtype

    @property
    def device(self) -> torch.device:
        return self.token_table.device

    def project(self, x: Tensor) -> Tensor:
        """The joint space's vectors (…, D) of last hidden states (…, W); fp32, not normalised."""
        normed = layer_norm(x, self.ln_final_weight, self.ln_final_bias)
        return (normed @ self.projection).float()

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

    def encode(
        self, texts: Sequence[Sequence[int]], *, tokens_per_batch: int = TOKENS_AT_ONCE
    ) -> Features:
        """Features of tokenised texts: ``global_`` at EOS, ``local`` from SOS to EOS.

        Arguments as of ``encode_packed``.
        """
        return self.encode_packed(texts, tokens_per_batch=tokens_per_batch).padded()

    @torch.no_grad()
    def encode_packed(
        self, texts: Sequence[Sequence[int]], *, tokens_per_batch: int = TOKENS_AT_ONCE
    ) -> PackedFeatures:
        """Features of tokenised texts, without padding.

        Args:
            texts: token ids of each text, [SOS … EOS], at most ``context_length`` of them.
            tokens_per_batch: texts of like length are run together, up to so many positions.
        """
        lengths = torch.tensor([len(text) for text in texts])
        offsets = row_offsets(lengths)
        local = torch.empty(int(offsets[-1]), self.embed_dim, device=self.device)
        for rows in _batches_of_like_length(texts, tokens_per_batch):
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


def _batches_of_like_length(
    texts: Sequence[Sequence[int]], tokens_per_batch: int
) -> Iterator[list[int]]:
    """Indices of ``texts`` by falling length, cut where a padded batch would outgrow the budget."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    while order:
        size = max(1, tokens_per_batch // len(texts[order[0]]))
        yield order[:size]
        order = order[size:]
