"""Dense image features of CLIP's ResNets."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.positions import resize_positions
from tai_dpt.errors import InputError

_STRIDE = 32


class _Reached(Exception):
    """Carries the map before the attention pool out of the trunk."""

    def __init__(self, feature_map: Tensor) -> None:
        super().__init__()
        self.feature_map = feature_map


def _stop(_: nn.Module, args: tuple[Any, ...]) -> NoReturn:
    raise _Reached(args[0])


class DenseResNet(nn.Module):
    """Global and local features from a ``ModifiedResNet`` of the ``clip`` package.

    The map ``X`` is taken by a hook on the attention pool, which also ends the pass: layers
    before the pool are not named, and the pool's own forward, which differs between copies of
    the package, is not run. Its weights are used here instead.
    """

    def __init__(self, visual: Any) -> None:
        """``visual``: the image tower; it is kept, not copied, and serves only this from now on."""
        super().__init__()
        # convolutions on the CPU are several times faster in this layout
        self.trunk = visual.to(memory_format=torch.channels_last)
        self.pool = visual.attnpool
        self.pool.register_forward_pre_hook(_stop)
        self.grid: int = round((len(self.pool.positional_embedding) - 1) ** 0.5)

    @property
    def image_size(self) -> int:
        """Height and width of the images that CLIP was trained on."""
        return self.grid * _STRIDE

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError for images that leave nothing to pool."""
        if min(height, width) < _STRIDE:
            raise InputError(
                f"an image of {height}×{width} is too small: CLIP's ResNets need at least "
                f"{_STRIDE} pixels a side"
            )

    def forward(self, images: Tensor, *, position_embedding: bool) -> tuple[Tensor, Tensor]:
        """Global (B, D) and local (B, N, D) features of images (B, 3, H, W), not normalised.

        ``local`` is ``c_proj(v_proj(X))`` at each of the N cells, row by row. ``global`` is the
        attention pool's output, with the position embedding (zero-shot CLIP) or without it
        (TaI-DPT, DualCoOp).
        """
        feature_map = self._feature_map(images)  # (B, W, h, w)
        cells = feature_map.flatten(2).transpose(1, 2)  # (B, N, W)
        pool = self.pool
        local = pool.c_proj(pool.v_proj(cells))
        tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)  # (B, 1 + N, W)
        if position_embedding:
            positions = resize_positions(pool.positional_embedding, *feature_map.shape[-2:])
            tokens = tokens + positions.to(tokens.dtype)
        return self._attend(tokens), local

    def _feature_map(self, images: Tensor) -> Tensor:
        try:
            self.trunk(images.contiguous(memory_format=torch.channels_last))
        except _Reached as reached:
            return reached.feature_map
        raise InputError("the image tower did not run its attention pool: is it a CLIP ResNet?")

    def _attend(self, tokens: Tensor) -> Tensor:
        """The pool's output (B, D): the mean token ``tokens[:, 0]`` asks, every token answers."""
        pool = self.pool
        sequence = tokens.transpose(0, 1)  # (1 + N, B, W)
        output, _ = F.multi_head_attention_forward(
            query=sequence[:1],
            key=sequence,
            value=sequence,
            embed_dim_to_check=sequence.shape[-1],
            num_heads=pool.num_heads,
            in_proj_weight=None,
            in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=pool.c_proj.weight,
            out_proj_bias=pool.c_proj.bias,
            training=False,
            need_weights=False,
            use_separate_proj_weight=True,
            q_proj_weight=pool.q_proj.weight,
            k_proj_weight=pool.k_proj.weight,
            v_proj_weight=pool.v_proj.weight,
        )
        return output[0]
