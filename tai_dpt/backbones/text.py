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

from tai_dpt.features import Features

# QuickGELU is x·σ(1.702 x) = silu(1.702 x) / 1.702. With frozen weights the two factors go into
# the layers around it, and one fused operation is left.
_QUICK_GELU = 1.702


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

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of hidden states ``x`` (B, L, W), each (B, heads, L, d)."""
        normed = layer_norm(x, self.ln_1_weight, self.ln_1_bias)
        projected = F.linear(normed, self.qkv_weight, self.qkv_bias)
        split = projected.unflatten(-1, (3, self.heads, -1))  # (B, L, 3, heads, d)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        return query, key, value

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add attention's output (B, heads, L, d) to ``x`` (B, L, W), then the MLP's."""
        merged = attended.transpose(1, 2).flatten(2)  # (B, L, W)
        x = x + F.linear(merged, self.out_weight, self.out_bias)
        normed = layer_norm(x, self.ln_2_weight, self.ln_2_bias)
        hidden = F.silu(F.linear(normed, self.fc_weight, self.fc_bias))
        return x + F.linear(hidden, self.proj_weight, self.proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Causal self-attention over ``x`` (B, L, W), then the MLP."""
        query, key, value = self.qkv(x)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.finish(x, attended)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer normalisation over the last axis, in single precision whatever ``x`` is in."""
    normed = F.layer_norm(x.float(), weight.shape, weight.float(), bias.float())
    return normed.to(x.dtype)


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
        x = self.token_table[tokens] + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.project(x)

    @torch.no_grad()
    def encode(self, texts: Sequence[Sequence[int]], *, tokens_per_batch: int = 8192) -> Features:
        """Features of tokenised texts: ``global_`` at EOS, ``local`` from SOS to EOS.

        Args:
            texts: token ids of each text, [SOS … EOS], at most ``context_length`` of them.
            tokens_per_batch: texts of like length are run together, up to so many positions.
        """
        longest = max(map(len, texts))
        features = Features(
            torch.empty(len(texts), self.embed_dim, device=self.device),
            torch.zeros(len(texts), longest, self.embed_dim, device=self.device),
            torch.zeros(len(texts), longest, dtype=torch.bool, device=self.device),
        )
        for rows in _batches_of_like_length(texts, tokens_per_batch):
            lengths = torch.tensor([len(texts[row]) for row in rows])
            padded = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
            for index, row in enumerate(rows):
                padded[index, : lengths[index]] = torch.tensor(texts[row])
            mask = torch.arange(padded.shape[1]) < lengths[:, None]
            output = F.normalize(self(padded.to(self.device)), dim=-1)
            output *= mask[..., None].to(self.device)
            where = torch.tensor(rows, device=self.device)
            features.global_[where] = output[torch.arange(len(rows)), lengths - 1]
            features.local[where, : padded.shape[1]] = output
            features.mask[where, : padded.shape[1]] = mask.to(self.device)
        return features


def _batches_of_like_length(
    texts: Sequence[Sequence[int]], tokens_per_batch: int
) -> Iterator[list[int]]:
    """Indices of ``texts`` by falling length, cut where a padded batch would outgrow the budget."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    while order:
        size = max(1, tokens_per_batch // len(texts[order[0]]))
        yield order[:size]
        order = order[size:]
