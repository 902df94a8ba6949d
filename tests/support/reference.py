"""The reference figures of the public code, and how far ours may be from them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from places import TESTS

GOLDEN = TESTS / "reference/golden"


def load_golden(name: str) -> SimpleNamespace:
    """The figures of ``golden/<name>.npz``, as tensors."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return SimpleNamespace(**{key: torch.as_tensor(archive[key]) for key in archive.files})


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest deviation, relative to the largest reference value."""
    ours, reference = ours.detach().double(), reference.double()
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.abs().max())
