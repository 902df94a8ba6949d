"""Small frozen CLIPs and the reference figures, shared by the tests."""

from __future__ import annotations

import os

# The tests' models are tiny: more threads only wait for each other, above all on a busy machine.
# Before torch is imported, so that it also holds for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


def load_golden(name: str) -> SimpleNamespace:
    """The figures of ``golden/<name>.npz``, as tensors."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return SimpleNamespace(**{key: torch.as_tensor(archive[key]) for key in archive.files})


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest deviation, relative to the largest reference value."""
    ours, reference = ours.detach().double(), reference.double()
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.abs().max())


@pytest.fixture(scope="session")
def golden_inputs() -> SimpleNamespace:
    inputs = load_golden("inputs")
    words = json.loads((GOLDEN / "inputs.json").read_text())
    return SimpleNamespace(**vars(inputs), classes=words["classes"], captions=words["captions"])


@pytest.fixture(scope="session")
def golden_backbone(tmp_path_factory):
    """The random CLIP that the reference figures were made with."""
    from safetensors.torch import save_file

    from clips import golden_state
    from tai_dpt.backbones import load_backbone

    path = tmp_path_factory.mktemp("golden") / "clip.safetensors"
    save_file(golden_state(), path)
    return load_backbone(path)
