"""Small CLIPs with seeded weights, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tai_dpt.backbones.building import build_clip
from tai_dpt.backbones.clip_package import clip_class

from reference import GOLDEN

TEXT: dict[str, int] = {"context_length": 77, "vocab_size": 49408, "transformer_layers": 2}
TINY: dict[str, dict[str, Any]] = {
    "resnet": {
        "embed_dim": 32,
        "image_resolution": 64,
        "vision_layers": (1, 2, 1, 1),
        "vision_width": 8,
        "vision_patch_size": None,
        "transformer_width": 64,
        "transformer_heads": 1,
    },
    "vit": {
        "embed_dim": 32,
        "image_resolution": 48,
        "vision_layers": 3,
        "vision_width": 128,
        "vision_patch_size": 16,
        "transformer_width": 64,
        "transformer_heads": 1,
    },
}


def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of ``golden/<name>.npz``."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def random_clip(**sizes: Any) -> Any:
    """A ``clip.model.CLIP`` with seeded weights that half precision can hold exactly.

    The package's own start has zeros (the residual blocks' last norm) and ones that would hide
    mistakes; here every tensor is random.
    """
    with torch.device("meta"):
        shapes = clip_class()(**sizes).state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        if not shape.is_floating_point():
            continue
        value = torch.empty(shape.shape)
        if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim > 1:
            fan_in = value[0].numel() if key.endswith("weight") else value.shape[-1]
            value.uniform_(-1, 1, generator=generator).mul_((3 / fan_in) ** 0.5)
        else:
            value.uniform_(-0.2, 0.2, generator=generator)
        state[key] = value.half().float()
    state["logit_scale"] = torch.tensor(3.0)
    return build_clip(state)


def tiny_clip(kind: str) -> Any:
    """A small random CLIP of the kind ``resnet`` or ``vit``."""
    return random_clip(**TEXT, **TINY[kind])


def golden_state() -> dict[str, Tensor]:
    """The golden CLIP's compact state dict, with ``token_rows`` and ``token_ids``."""
    return {key: torch.tensor(value) for key, value in golden("clip").items()}


def golden_clip() -> Any:
    """The golden CLIP as a model of the ``clip`` package."""
    state = golden_state()
    rows, ids = state.pop("token_rows"), state.pop("token_ids")
    table = torch.zeros(TEXT["vocab_size"], rows.shape[1])
    table[ids] = rows
    return build_clip({**state, "token_embedding.weight": table})


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Within ``tolerance`` of the largest value expected."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


def publish(monkeypatch: Any, path: Path) -> None:
    """Have a weight file count as one that OpenAI published: TorchScript is opened only then."""
    from tai_dpt.backbones import weights
    from tai_dpt.io.atomic import file_sha256

    sha256 = file_sha256(path)
    monkeypatch.setattr(weights, "_published_sha256", lambda: {sha256})
