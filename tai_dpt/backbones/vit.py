"""Dense image features of CLIP's vision transformers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.positions import resize_positions
from tai_dpt.errors import InputError


class DenseViT(nn.Module):
    """Global and local features from a ``VisionTransformer`` of the ``clip`` package.

    Source of the local features: MaskCLIP (Zhou et al., ECCV 2022, section 3.2).
    """

    def __init__(self, visual: Any) -> None:
        """``visual``: the image tower; it is kept, not copied."""
        super().__init__()
        self.visual = visual
        self.patch: int = self.visual.conv1.kernel_size[0]
        self.grid: int = round((len(self.visual.positional_embedding) - 1) ** 0.5)

    @property
    def image_size(self) -> int:
        """Height and width of the images that CLIP was trained on."""
        return self.grid * self.patch

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError for images that are no whole number of patches."""
        if height % self.patch or width % self.patch or not height * width:
            near = [max(1, round(side / self.patch)) * self.patch for side in (height, width)]
            raise InputError(
                f"an image of {height}×{width} cannot be cut into patches of {self.patch} pixels: "
                f"both sides must be multiples of {self.patch}, such as {near[0]}×{near[1]}"
            )

    def forward(self, images: Tensor, *, position_embedding: bool = True) -> tuple[Tensor, Tensor]:
        """Global (B, D) and local (B, N, D) features of images (B, 3, H, W), not normalised.

        ``global`` is the class token's output. ``local`` are the N patches', row by row, where
        the last block's attention is replaced by its value path: no patch looks at another one
        there; residual and MLP are kept.

        ``position_embedding`` concerns the ResNets' attention pool. A vision transformer has
        its positions in the first layer and never runs without them.
        """
        visual = self.visual
        x = self._embed(images)  # (1 + N, B, W), the layout of the package's blocks
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = block(x)
        normed = last.ln_1(x)
        # the class token alone is asked for: its attention is one row of the block's
        attended = last.attn(normed[:1], normed, normed, need_weights=False)[0]
        both = x + torch.cat([attended, _value_path(last.attn, normed[1:])])
        both = both + last.mlp(last.ln_2(both))
        output = (visual.ln_post(both) @ visual.proj).transpose(0, 1)  # (B, 1 + N, D)
        return output[:, 0], output[:, 1:]

    def _embed(self, images: Tensor) -> Tensor:
        """Class token and patches with their positions, (1 + N, B, W)."""
        visual = self.visual
        patches = visual.conv1(images)  # (B, W, h, w)
        positions = resize_positions(visual.positional_embedding, *patches.shape[-2:])
        tokens = patches.flatten(2).permute(2, 0, 1)  # (N, B, W)
        first = visual.class_embedding.to(tokens.dtype).expand(1, tokens.shape[1], -1)
        x = torch.cat([first, tokens]) + positions[:, None].to(tokens.dtype)
        return visual.ln_pre(x)


def _value_path(attention: Any, x: Tensor) -> Tensor:
    """Value and output projection of a ``nn.MultiheadAttention``, without its attention."""
    width = x.shape[-1]
    values = F.linear(x, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    return F.linear(values, attention.out_proj.weight, attention.out_proj.bias)
