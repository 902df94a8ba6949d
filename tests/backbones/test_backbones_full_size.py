"""RN50 and ViT-B/16 at full size: each file format gives the clip package's own features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from tai_dpt.backbones import load_backbone

from clips import assert_close, publish, random_clip

TEXT = {
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 512,
    "transformer_heads": 8,
    "transformer_layers": 12,
}
MODELS: dict[str, dict[str, Any]] = {
    "RN50": {
        "embed_dim": 1024,
        "image_resolution": 224,
        "vision_layers": (3, 4, 6, 3),
        "vision_width": 64,
        "vision_patch_size": None,
    },
    "ViT-B/16": {
        "embed_dim": 512,
        "image_resolution": 224,
        "vision_layers": 12,
        "vision_width": 768,
        "vision_patch_size": 16,
    },
}
CAPTIONS = ["a dog sitting in a car", "stop!% a potted plant"]


def save_jit(model: Any, path: str, image: Tensor, tokens: Tensor) -> None:
    """As OpenAI's archives are: traced, half precision, sizes among the buffers."""
    for name, value in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 49408)):
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    inputs = {"encode_image": image, "encode_text": tokens}
    torch.jit.trace_module(model, inputs, check_trace=False).half().save(path)


@pytest.fixture(autouse=True)
def _one_thread():
    """One image: threads gain little here, and lose much where the processors are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_full_size_from_every_file_format(name, tmp_path, monkeypatch):
    model = random_clip(**TEXT, **MODELS[name])
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 224, 224, generator=generator)
    tokens = torch.zeros(len(CAPTIONS), 77, dtype=torch.long)
    expected_image = F.normalize(model.encode_image(image), dim=-1)
    expected_text, hashes = None, set()

    for kind in ("safetensors", "state_dict", "jit"):
        path = tmp_path / f"{kind}.pt"
        state = model.state_dict()
        if kind == "safetensors":
            save_file(state, path)
        elif kind == "state_dict":
            half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
            torch.save(half, path)
        else:
            save_jit(model, str(path), image, tokens)
            publish(monkeypatch, path)
        backbone = load_backbone(path)
        path.unlink()  # hundreds of megabytes

        ids = backbone.tokenize(CAPTIONS)
        if expected_text is None:
            for row, text in zip(tokens, ids, strict=True):
                row[: len(text)] = torch.tensor(text)
            expected_text = F.normalize(model.encode_text(tokens), dim=-1)
        features = backbone.encode_images(image, position_embedding=True)
        assert_close(features.global_, expected_image)
        assert features.local.shape == (1, 49 if name == "RN50" else 196, backbone.embed_dim)
        assert_close(backbone.encode_texts(ids).global_, expected_text)
        assert (backbone.embed_dim, backbone.image_size) == (MODELS[name]["embed_dim"], 224)
        hashes.add(backbone.weights_hash)
    assert len(hashes) == 1
