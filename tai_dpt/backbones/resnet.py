"""Dense image features of CLIP's ResNets, with everything folded that frozen weights allow."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.blocks import block_prefixes
from tai_dpt.backbones.linear import linear
from tai_dpt.backbones.positions import Positions
from tai_dpt.errors import InputError

_STRIDE = 32
_EPSILON = 1e-5  # of the batch norms

State = MutableMapping[str, Tensor]


class DenseResNet(nn.Module):
    """Global and local features of CLIP's modified ResNet."""

    dense_options: tuple[str, ...] = ()  # its local features come about in one way only
    dense: str | None = None
    any_size = True
    has_places = True
    cell = _STRIDE

    def __init__(self, state: State, *, heads: int) -> None:
        """
        Args:
            state: in OpenAI's layout; the image tower's tensors are taken out of it.
            heads: number of the attention pool's heads.
        """
        super().__init__()
        self.stem = nn.ModuleList(
            _Convolution(state, f"visual.conv{n}", f"visual.bn{n}", stride=2 if n == 1 else 1)
            for n in (1, 2, 3)
        )
        self.blocks = nn.ModuleList(
            _Bottleneck(state, prefix, stride=2 if stage > 1 and number == 0 else 1)
            for stage in (1, 2, 3, 4)
            for number, prefix in enumerate(block_prefixes(state, f"visual.layer{stage}."))
        )
        # convolutions on the CPU are several times faster in this layout
        self.to(memory_format=torch.channels_last)
        self.pool = _AttentionPool(state, heads=heads)

    @property
    def embed_dim(self) -> int:
        return self.pool.output_weight.shape[0]

    @property
    def grid(self) -> int:
        """Cells a side of an image of ``image_size``."""
        return self.pool.positions.side

    @property
    def image_size(self) -> int:
        """Height and width of the images that CLIP was trained on."""
        return self.grid * self.cell

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError for images that leave nothing to pool."""
        if min(height, width) < _STRIDE:
            raise InputError(
                f"an image of {height}×{width} is too small: CLIP's ResNets need at least "
                f"{_STRIDE} pixels a side"
            )

    def forward(self, images: Tensor, *, position_embedding: bool) -> tuple[Tensor, Tensor]:
        """Global (B, D) and local (B, N, D) features of images (B, 3, H, W), not normalised.

        ``local`` is ``c_proj(v_proj(X))`` at each of the N cells of the map ``X`` before the
        attention pool, row by row. ``global`` is the pool's output, with the position embedding
        (zero-shot CLIP) or without it (TaI-DPT, DualCoOp).
        """
        x = images.contiguous(memory_format=torch.channels_last)
        for convolution in self.stem:
            x = convolution(x).relu_()
        x = F.avg_pool2d(x, 2)
        for block in self.blocks:
            x = block(x)
        features: tuple[Tensor, Tensor] = self.pool(x, position_embedding=position_embedding)
        return features


class _Convolution(nn.Module):
    """A convolution with the batch norm after it folded in."""

    weight: Tensor
    bias: Tensor

    def __init__(self, state: State, convolution: str, norm: str, *, stride: int = 1) -> None:
        super().__init__()
        weight = state.pop(f"{convolution}.weight").detach()
        mean, variance, scale, shift = (
            state.pop(f"{norm}.{key}").detach().double()
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        state.pop(f"{norm}.num_batches_tracked", None)
        factor = scale * (variance + _EPSILON).rsqrt()  # (out,)
        folded = (weight.double() * factor.view(-1, 1, 1, 1)).to(weight.dtype)
        self.register_buffer("weight", folded, persistent=False)
        self.register_buffer("bias", (shift - mean * factor).to(weight.dtype), persistent=False)
        self.stride, self.padding = stride, weight.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


class _Bottleneck(nn.Module):
    """Three convolutions and the way around them; average pooling in place of strides."""

    def __init__(self, state: State, prefix: str, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolutions = nn.ModuleList(
            _Convolution(state, f"{prefix}conv{n}", f"{prefix}bn{n}") for n in (1, 2, 3)
        )
        around = f"{prefix}downsample."
        self.around = (
            _Convolution(state, f"{around}0", f"{around}1")
            if f"{around}0.weight" in state
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.convolutions
        inside = second(first(x).relu_()).relu_()
        if self.stride > 1:
            inside, x = F.avg_pool2d(inside, self.stride), F.avg_pool2d(x, self.stride)
        added: Tensor = third(inside).add_(x if self.around is None else self.around(x))
        return added.relu_()


class _AttentionPool(nn.Module):
    """The attention pool, asked for what is needed of it: its one query, and the value path."""

    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    value_weight: Tensor
    value_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor
    local_weight: Tensor  # (D, W), value and output projection in one
    local_bias: Tensor

    def __init__(self, state: State, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        take = {key: state.pop(f"visual.attnpool.{key}").detach() for key in _POOL_KEYS}
        self.positions = Positions(take["positional_embedding"])
        output = take["c_proj.weight"].double()
        local = output @ take["v_proj.weight"].double()
        bias = output @ take["v_proj.bias"].double() + take["c_proj.bias"].double()
        weights = {
            "query_weight": take["q_proj.weight"],
            "query_bias": take["q_proj.bias"],
            # the keys' bias adds the same to all of a query's scores: softmax does not see it
            "key_weight": take["k_proj.weight"],
            "value_weight": take["v_proj.weight"],
            "value_bias": take["v_proj.bias"],
            "output_weight": take["c_proj.weight"],
            "output_bias": take["c_proj.bias"],
            "local_weight": local.to(take["c_proj.weight"].dtype),
            "local_bias": bias.to(take["c_proj.bias"].dtype),
        }
        for name, value in weights.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, feature_map: Tensor, *, position_embedding: bool) -> tuple[Tensor, Tensor]:
        """Global (B, D) and local (B, N, D) of the map (B, W, h, w)."""
        cells = feature_map.flatten(2).transpose(1, 2)  # (B, N, W)
        local = linear(cells, self.local_weight, self.local_bias)
        tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)  # (B, 1 + N, W)
        if position_embedding:
            tokens = tokens + self.positions(feature_map.shape[-2], feature_map.shape[-1])
        return self._ask(tokens), local

    def _ask(self, tokens: Tensor) -> Tensor:
        """The pool's output (B, D): the mean token ``tokens[:, 0]`` asks, every token answers.

        One query makes both key and value products small: the query goes through the keys'
        matrix instead of every token, and the values' is applied to what the weights leave.
        """
        query = linear(tokens[:, 0], self.query_weight, self.query_bias)
        query = query.unflatten(-1, (self.heads, -1))  # (B, heads, d)
        scale = query.shape[-1] ** -0.5
        keys = self.key_weight.unflatten(0, (self.heads, -1))  # (heads, d, W)
        asked = torch.einsum("bhd,hdw->bhw", query * scale, keys)
        weights = (asked @ tokens.transpose(1, 2)).softmax(dim=-1)  # (B, heads, 1 + N)
        values = self.value_weight.unflatten(0, (self.heads, -1))  # (heads, d, W)
        seen = torch.einsum("bhw,hdw->bhd", weights @ tokens, values).flatten(1)
        return linear(seen + self.value_bias, self.output_weight, self.output_bias)


_POOL_KEYS = (
    "positional_embedding",
    *(f"{layer}_proj.{part}" for layer in "qkvc" for part in ("weight", "bias")),
)
