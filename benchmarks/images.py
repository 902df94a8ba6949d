"""(j) How fast images are encoded, against clip's and open_clip's own forward passes, and how much
of that is left when files are tagged."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common import Section, command, side_by_side
from tai_dpt.backbones import Backbone
from tai_dpt.backbones.clip_package import clip_class
from tai_dpt.backbones.read_ahead import read_ahead
from tai_dpt.tagger.tagger import PromptTagger

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


def photos(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """JPEGs of so many pixels, with as much detail as a photo's: a few bytes for ten pixels."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        paths.append(folder / f"{width}-{number}.jpg")
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def _tagging(backbone: Backbone, quick: bool, rounds: int) -> list[list[object]]:
    """Files to tags, in turns with the bare encoder on as many images, and with reading alone.

    Reading shares the cores with the encoder, so the share has a limit: the encoder's part of the
    time that both take one after the other.
    """
    rows = torch.nn.functional.normalize(torch.ones(80, backbone.embed_dim), dim=-1)
    tagger = PromptTagger(
        backbone=backbone,
        class_names=[str(number) for number in range(80)],
        embeddings={"global": rows, "local": rows},
        contexts={},
    )
    batch, count = (2, 4) if quick else (16, 48)
    pixels = torch.randn(batch, 3, *tagger.preprocessing.size)

    def encode() -> None:
        for _ in range(count // batch):
            backbone.encode_images(pixels, position_embedding=False)

    def prepared(path: Path) -> torch.Tensor:
        return tagger.preprocessing(tagger.preprocessing.read(path))

    table: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for width, height in ((64, 48), (128, 96)) if quick else ((500, 375), (4000, 3000)):
            paths = photos(Path(folder), count, width, height)

            def tag(paths: list[Path] = paths) -> None:
                for found in tagger.stream(paths, batch_size=batch):
                    tagger.decide(found.scores.merged.numpy(), top=5)

            def read(paths: list[Path] = paths) -> None:
                for _ in read_ahead(paths, prepared, at_most=2 * batch, workers=4):
                    pass

            bare, files, whole = side_by_side([encode, read, tag], rounds)
            speeds = [count / seconds for seconds in (bare, files, whole)]
            shares = [f"{bare / seconds:.2f}" for seconds in (whole, bare + files)]
            table.append([f"{width}×{height}", *speeds, *shares])
    return table


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
    headers = ["JPEGs, images/s", "encoder alone", "reading alone", "tagged", "share", "limit"]
    section.table(headers, _tagging(our_resnet, quick, rounds))
    section.add(
        "Files to tags with RN50: read, prepared, encoded and scored as by `tai-dpt tag`, in turns "
        "with the encoder alone on as many images, and with reading and preparing alone. Reading "
        "shares the cores with the encoder: the limit of the share is the encoder's part of the "
        "time that both take one after the other."
    )


if __name__ == "__main__":
    main()
