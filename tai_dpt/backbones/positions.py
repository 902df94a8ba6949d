"""Position embeddings for images of another size than the model's own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Shapes that are kept: a data set has one, a page of heat maps the aspects of its images.
_KEPT = 16


class Positions(nn.Module):
    """A position table for grids of any shape, each resized once and kept."""

    table: Tensor  # (1 + side², W)

    def __init__(self, table: Tensor) -> None:
        """``table``: (1 + side², W), the class or mean token's row first."""
        super().__init__()
        self.register_buffer("table", table.detach(), persistent=False)
        self._resized: dict[tuple[object, ...], Tensor] = {}

    @property
    def side(self) -> int:
        """Height and width of the model's own grid."""
        return math.isqrt(len(self.table) - 1)

    def forward(self, height: int, width: int) -> Tensor:
        """(1 + height·width, W)."""
        if (height, width) == (self.side, self.side):
            return self.table
        key = (height, width, self.table.dtype, self.table.device)
        found = self._resized.get(key)
        if found is None:
            found = resize_positions(self.table, height, width)
            if len(self._resized) >= _KEPT:
                self._resized.clear()
            self._resized[key] = found
        return found


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
