"""Dense image features of CLIP's vision transformers."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.blocks import Block, block_prefixes, layer_norm
from tai_dpt.backbones.linear import linear
from tai_dpt.backbones.positions import Positions
from tai_dpt.errors import InputError, unknown

_NEIGHBOURHOOD = 5.0  # standard deviation of the Gaussian, in patches

#: what the patches attend to in the last block, and hence what the local features are
Attend = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]


def _value(query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
    return value[:, :, 1:]


def _query_key(query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
    return _self_similar(query, value) + _self_similar(key, value)


def _query_query(query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
    return _self_similar(query, value)


def _neighbours(query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
    nearness = F.pad(_gaussian(*grid, device=key.device), (1, 0))  # the class token has no place
    return _self_similar(key, value, nearness.to(key.dtype))


def _self_similar(x: Tensor, value: Tensor, extra: Tensor | None = None) -> Tensor:
    """softmax(x xᵀ / √d + extra) · value of the patches (B, heads, N, d); all tokens answer."""
    return F.scaled_dot_product_attention(x[:, :, 1:], x, value, attn_mask=extra)


def _gaussian(height: int, width: int, *, device: torch.device) -> Tensor:
    """exp(−distance² / 2σ²) between all patches of a grid, in patches (N, N)."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    squared = (places[:, None] - places).square().sum(-1)
    return (-squared / (2 * _NEIGHBOURHOOD**2)).exp()


# name -> attention of the patches in the last block, and whether its residual and MLP are kept
_DENSE: dict[str, tuple[Attend, bool]] = {
    "qq": (_query_query, False),  # ClearCLIP (Lan et al., ECCV 2024)
    "qk": (_query_key, True),  # SCLIP (Wang et al., ECCV 2024)
    "value": (_value, True),  # MaskCLIP (Zhou et al., ECCV 2022)
    "neighbours": (_neighbours, False),  # NACLIP (Hajimiri et al., WACV 2025)
}
DENSE_OPTIONS = tuple(_DENSE)
FIRST_DENSE = "value"  # before there was a choice


class DenseViT(nn.Module):
    """Global and local features of CLIP's vision transformer."""

    dense_options = DENSE_OPTIONS
    any_size = True
    has_places = True
    class_embedding: Tensor  # (W,)
    patch_weight: Tensor  # (W, 3, patch, patch)
    ln_pre_weight: Tensor
    ln_pre_bias: Tensor
    ln_post_weight: Tensor
    ln_post_bias: Tensor
    projection: Tensor  # (W, D)

    def __init__(
        self,
        state: MutableMapping[str, Tensor],
        *,
        heads: int,
        activation: str = "quick_gelu",
        dense: str = DENSE_OPTIONS[0],
    ) -> None:
        """
        Args:
            state: in OpenAI's layout; the image tower's tensors are taken out of it and changed.
            heads: number of attention heads.
            activation: one of ``blocks.ACTIVATIONS``.
            dense: one of ``DENSE_OPTIONS``; may be changed at any time.
        """
        super().__init__()
        self.dense = dense
        self._blocks = nn.ModuleList(
            Block(state, prefix, heads=heads, causal=False, activation=activation)
            for prefix in block_prefixes(state, "visual.transformer.resblocks.")
        )
        self.positions = Positions(state.pop("visual.positional_embedding"))
        weights = {
            "class_embedding": "visual.class_embedding",
            "patch_weight": "visual.conv1.weight",
            "ln_pre_weight": "visual.ln_pre.weight",
            "ln_pre_bias": "visual.ln_pre.bias",
            "ln_post_weight": "visual.ln_post.weight",
            "ln_post_bias": "visual.ln_post.bias",
            "projection": "visual.proj",
        }
        for name, key in weights.items():
            self.register_buffer(name, state.pop(key).detach(), persistent=False)

    @property
    def blocks(self) -> list[Block]:
        """First to last."""
        return cast("list[Block]", list(self._blocks))

    @property
    def cell(self) -> int:
        """Height and width in pixels of what a local feature is of: a patch."""
        return self.patch_weight.shape[-1]

    @property
    def embed_dim(self) -> int:
        return self.projection.shape[1]

    @property
    def grid(self) -> int:
        """Cells a side of an image of ``image_size``."""
        return self.positions.side

    @property
    def image_size(self) -> int:
        """Height and width of the images that CLIP was trained on."""
        return self.grid * self.cell

    @property
    def dense(self) -> str:
        """How local features come about: one of ``DENSE_OPTIONS``."""
        return self._dense

    @dense.setter
    def dense(self, name: str) -> None:
        if name not in DENSE_OPTIONS:
            raise unknown("dense option", name, DENSE_OPTIONS)
        self._dense = name

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError for images that are no whole number of patches."""
        if height % self.cell or width % self.cell or not height * width:
            near = [max(1, round(side / self.cell)) * self.cell for side in (height, width)]
            raise InputError(
                f"an image of {height}×{width} cannot be cut into patches of {self.cell} pixels: "
                f"both sides must be multiples of {self.cell}, such as {near[0]}×{near[1]}"
            )

    def forward(self, images: Tensor, *, position_embedding: bool = True) -> tuple[Tensor, Tensor]:
        """Global (B, D) and local (B, N, D) features of images (B, 3, H, W), not normalised.

        ``global`` is the class token's output. ``local`` are the N patches', row by row, from a
        last block in which they attend as ``dense`` says: to themselves (``value``), to patches
        of like queries (``qq``), of like queries and of like keys (``qk``), or of like keys near
        by (``neighbours``). The class token is among those attended to.

        ``position_embedding`` concerns the ResNets' attention pool. A vision transformer has
        its positions in the first layer and never runs without them.
        """
        x, grid = self._embed(images)  # (B, 1 + N, W)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        query, key, value = last.split(x)  # (B, heads, 1 + N, d)
        # the class token alone is asked for: its attention is one row of the block's
        seen = F.scaled_dot_product_attention(query[:, :, :1], key, value)
        attend, whole = _DENSE[self.dense]
        patches = attend(query, key, value, grid)
        if whole:
            attended = torch.cat([seen, patches], dim=2).transpose(1, 2).flatten(2)
            output = self._project(last.finish(x, attended))
            return output[:, 0], output[:, 1:]
        first = last.finish(x[:, :1], seen.transpose(1, 2).flatten(2))
        return self._project(first)[:, 0], self._project(last.out(patches))

    def _project(self, x: Tensor) -> Tensor:
        normed = layer_norm(x, self.ln_post_weight, self.ln_post_bias)
        return linear(normed, self.projection.t())

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Class token and patches with their positions (B, 1 + N, W), and the grid's shape."""
        patches = F.conv2d(images, self.patch_weight, stride=self.cell)  # (B, W, h, w)
        grid = (patches.shape[-2], patches.shape[-1])
        tokens = patches.flatten(2).transpose(1, 2)  # (B, N, W)
        first = torch.zeros_like(tokens[:, :1]) + self.class_embedding  # a trace keeps B open
        x = torch.cat([first, tokens], dim=1) + self.positions(*grid)
        return layer_norm(x, self.ln_pre_weight, self.ln_pre_bias), grid
