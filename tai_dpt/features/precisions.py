"""In what form rows of features are stored, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tai_dpt.errors import unknown

PrecisionName = Literal["fp16", "fp32", "int8"]


@dataclass(frozen=True)
class Precision:
    """A form of stored rows: floating point as it is, or whole numbers with a scale a row.

    Args:
        name: as configurations and files have it.
        dtype: of the stored numbers.
        scaled: each row is ``round(x / s)`` with ``s = max |x| / 127`` behind it, in half
            precision as two of its bytes. No element is off by more than ``s / 2`` and the
            rounding of ``s``, which is that of normal numbers for rows of length 1.
    """

    name: PrecisionName
    dtype: torch.dtype
    scaled: bool = False

    def width(self, embed_dim: int) -> int:
        """Numbers a stored row has."""
        return embed_dim + (2 if self.scaled else 0)

    def row_bytes(self, embed_dim: int) -> int:
        """Bytes a stored row has."""
        return self.width(embed_dim) * self.dtype.itemsize

    def stored(self, rows: Tensor) -> Tensor:
        """Rows (T, D) as they are stored (T, width).

        >>> PRECISIONS["int8"].stored(torch.tensor([[1.0, -0.5, 0.0]])).shape
        torch.Size([1, 5])
        """
        if not self.scaled:
            return rows.to(self.dtype)
        rows = rows.float()
        scale = (rows.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-7).half()  # (T, 1)
        whole = (rows / scale.float()).round().clamp(-127, 127).to(torch.int8)
        return torch.cat([whole, scale.view(torch.int8)], dim=1)

    def read(self, stored: Tensor, dtype: torch.dtype) -> Tensor:
        """Stored rows (T, width) as numbers (T, D) of ``dtype``."""
        if not self.scaled:
            return stored.to(dtype)
        scale = stored[:, -2:].contiguous().view(torch.float16)  # (T, 1)
        return (stored[:, :-2].float() * scale.float()).to(dtype)


PRECISIONS: Mapping[str, Precision] = {
    "fp16": Precision("fp16", torch.float16),
    "fp32": Precision("fp32", torch.float32),
    "int8": Precision("int8", torch.int8, scaled=True),
}


def stored_precision(name: str) -> Precision:
    """The form of that name. Raises InputError for another."""
    if name not in PRECISIONS:
        raise unknown("precision of stored features", name, PRECISIONS)
    return PRECISIONS[name]
