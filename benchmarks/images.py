"""(j) How fast images are encoded, against clip's and open_clip's own forward passes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common import Section, command, side_by_side
from tai_dpt.backbones import Backbone
from tai_dpt.backbones.clip_package import clip_class

_TEXT = (77, 64, 64, 1, 1)  # as small as a text tower can be


def _clips(size: int, layers: Any, width: int, patch: int | None, dim: int) -> tuple[Any, Any]:
    """clip's own model with random weights, as open_clip's functions are called, and ours."""
    torch.manual_seed(0)
    model = clip_class()(dim, size, layers, width, patch, *_TEXT).eval()
    return model.encode_image, Backbone(model, name="random")


def _open_clips(backbone: Backbone, config: dict[str, Any]) -> Callable[[Any], Any]:
    """open_clip's vision transformer of the same sizes."""
    library: Any = importlib.import_module("open_clip")
    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}
    model = library.CLIP(backbone.embed_dim, config, text, quick_gelu=True).eval()
    return model.encode_image


@command("j", "Encoding images")
def main(section: Section, quick: bool) -> None:
    """Global and dense features of a batch, in turns with the libraries' global ones."""
    size, batch, rounds = (64, 2, 2) if quick else (224, 8, 4)
    pixels = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    stages, width = ((1, 1, 1, 1), 8) if quick else ((3, 4, 6, 3), 64)
    depth, wide, dim = (2, 64, 64) if quick else (12, 768, 512)
    resnet, our_resnet = _clips(size, stages, width, None, width * 16)
    vit, our_vit = _clips(size, depth, wide, 16, dim)
    vision = {
        "image_size": size, "patch_size": 16, "width": wide, "layers": depth, "head_width": 64,
    }  # fmt: skip
    pairs = [
        ("RN50", "clip", resnet, our_resnet),
        ("ViT-B/16", "clip", vit, our_vit),
        ("ViT-B/16", "open_clip", _open_clips(our_vit, vision), our_vit),
    ]
    rows = []
    for name, library, theirs, backbone in pairs:

        def encode(backbone: Backbone = backbone) -> None:
            backbone.encode_images(pixels, position_embedding=True)

        with torch.no_grad():
            plain, ours = side_by_side([lambda f=theirs: f(pixels), encode], rounds)
        rows.append([name, library, batch / plain, batch / ours, f"{plain / ours:.2f} ×"])
    section.table(["model", "against", "theirs, images/s", "ours, images/s", "faster"], rows)
    section.add(
        f"Batches of {batch} images of {size}×{size} in fp32. Theirs are global features alone, "
        "ours are global and local ones (`qq` for the vision transformer)."
    )


if __name__ == "__main__":
    main()
