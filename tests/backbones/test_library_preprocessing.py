"""Images prepared here are what the library's own preprocessing makes of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tai_dpt.backbones import load_backbone
from tai_dpt.io.images import as_image

import library_models

open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")

SIZES = [(48, 48), (49, 48), (640, 480), (333, 500), (51, 97), (7, 5), (48, 51), (200, 31)]
SIZES += [(106, 882), (1500, 31)]  # longer than 8:1
MODES = ["RGB", "L", "P", "1", "CMYK", "YCbCr", "RGBA", "I;16", "LA", "PA"]


def photos():
    """Images of every size, in every mode, as RGB: what is read has been made that already."""
    generator = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((width, height))
        yield image
        yield as_image(_in_mode(image, MODES[number]))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    return image.convert(mode)


def assert_alike(ours, theirs) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 1e-5


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_open_clips(tmp_path, monkeypatch, mode, interpolation):
    changed = library_models.PREPROCESS | {"resize_mode": mode, "interpolation": interpolation}
    monkeypatch.setattr(library_models, "PREPROCESS", changed)
    folder = library_models.save_open_clip(tmp_path, "vit_gelu")
    _, _, theirs = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours = load_backbone(f"hf-hub:{folder}").preprocessing
    for image in photos():
        assert_alike(ours(image), theirs(image))


WHOLE = {"size": {"height": 48, "width": 48}}  # as it is resized, nothing is left to cut
CUT = {"size": {"shortest_edge": 48}, "crop_size": {"height": 32, "width": 48}}


@pytest.mark.parametrize(
    ("kind", "changed", "both"),
    [
        ("clip_gelu", {}, False),
        ("siglip", {}, False),
        ("clip_gelu", WHOLE, False),
        ("clip_gelu", CUT, False),
        ("clip_gelu", {"image_mean": [0.1, 0.2, 0.3]}, True),
    ],
)
def test_transformers(tmp_path, kind, changed, both):
    """``both``: in the file that a processor of texts and images is saved in."""
    library_models.save_transformers(tmp_path, kind)
    file = tmp_path / "preprocessor_config.json"
    content = json.loads(file.read_text()) | changed
    file.write_text(json.dumps(content))
    if both:
        file.rename(tmp_path / "processor_config.json")
        (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    ours = load_backbone(f"transformers:{tmp_path}").preprocessing
    for image in photos():
        expected = theirs(images=image, return_tensors="np")["pixel_values"][0]
        assert_alike(ours(image), torch.from_numpy(expected))
