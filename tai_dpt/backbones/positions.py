"""Position embeddings for images of another size than the model's own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """``positions`` (1 + side², W) for a grid of ``height`` × ``width``: (1 + height·width, W).

    The first row, the class or mean token's, is kept; the grid's are resized bicubically.
    """
    side = math.isqrt(len(positions) - 1)
    if (height, width) == (side, side):
        return positions
    grid = positions[1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, W, s, s)
    resized = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
    rows = resized.flatten(2)[0].T.to(positions.dtype)  # (height·width, W)
    return torch.cat([positions[:1], rows])
