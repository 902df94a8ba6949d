"""The frozen transformer block that both of CLIP's towers are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping

import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.linear import linear
from tai_dpt.errors import unknown

# What comes between the two layers of an MLP: OpenAI's own, and the one of most later models.
ACTIVATIONS = ("quick_gelu", "gelu")

# QuickGELU is x·σ(1.702 x) = silu(1.702 x) / 1.702. With frozen weights the two factors go into
# the layers around it, and one fused operation is left.
_QUICK_GELU = 1.702

_WEIGHTS = {
    "ln_1_weight": "ln_1.weight",
    "ln_1_bias": "ln_1.bias",
    "qkv_weight": "attn.in_proj_weight",
    "qkv_bias": "attn.in_proj_bias",
    "out_weight": "attn.out_proj.weight",
    "out_bias": "attn.out_proj.bias",
    "ln_2_weight": "ln_2.weight",
    "ln_2_bias": "ln_2.bias",
    "fc_weight": "mlp.c_fc.weight",
    "fc_bias": "mlp.c_fc.bias",
    "proj_weight": "mlp.c_proj.weight",
    "proj_bias": "mlp.c_proj.bias",
}


class Block(nn.Module):
    """One frozen residual attention block, in the pieces that its users need."""

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

    def __init__(
        self,
        state: MutableMapping[str, Tensor],
        prefix: str,
        *,
        heads: int,
        causal: bool,
        activation: str,
    ) -> None:
        """
        Args:
            state: in OpenAI's layout; the block's tensors are taken out of it and changed.
            prefix: of the block's keys in ``state``.
            causal: whether a position sees only itself and those before it.
            activation: one of ``ACTIVATIONS``.
        """
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        self.heads = heads
        self.causal = causal
        self.quick = activation == "quick_gelu"
        for name, key in _WEIGHTS.items():
            self.register_buffer(name, state.pop(prefix + key).detach(), persistent=False)
        if self.quick:
            self.fc_weight.mul_(_QUICK_GELU)
            self.fc_bias.mul_(_QUICK_GELU)
            self.proj_weight.div_(_QUICK_GELU)

    def qkv(self, x: Tensor) -> Tensor:
        """Queries, keys and values (B, L, 3·W), side by side, of hidden states ``x`` (B, L, W)."""
        normed = layer_norm(x, self.ln_1_weight, self.ln_1_bias)
        return linear(normed, self.qkv_weight, self.qkv_bias)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head (B, heads, L, d), of ``x`` (B, L, W)."""
        # views by sizes read off the tensor keep a traced model open for any batch
        by_head = (*x.shape[:2], self.heads, -1)
        parts = self.qkv(x).chunk(3, dim=-1)
        query, key, value = (part.view(by_head).transpose(1, 2) for part in parts)
        return query, key, value

    def out(self, attended: Tensor) -> Tensor:
        """The output projection (B, L, W) of what the heads attended to (B, heads, L, d)."""
        return linear(attended.transpose(1, 2).flatten(2), self.out_weight, self.out_bias)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add attention's output (B, L, W), not yet projected, to ``x`` (B, L, W), then the
        MLP's."""
        x = x + linear(attended, self.out_weight, self.out_bias)
        normed = layer_norm(x, self.ln_2_weight, self.ln_2_bias)
        hidden = linear(normed, self.fc_weight, self.fc_bias)
        hidden = F.silu(hidden) if self.quick else F.gelu(hidden)
        return x + linear(hidden, self.proj_weight, self.proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Self-attention over ``x`` (B, L, W), then the MLP."""
        query, key, value = self.split(x)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.finish(x, attended.transpose(1, 2).flatten(2))


def block_prefixes(keys: Iterable[str], prefix: str) -> list[str]:
    """The prefixes ``<prefix>0.``, ``<prefix>1.`` … of the blocks in a state dict, in order."""
    numbers = {
        int(found[1]) for key in keys if (found := re.match(rf"{re.escape(prefix)}(\d+)\.", key))
    }
    return [f"{prefix}{number}." for number in sorted(numbers)]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer normalisation over the last axis; torch does it in single precision inside and
    rounds once, whatever ``x`` is in."""
    return F.layer_norm(x, weight.shape, weight, bias)
