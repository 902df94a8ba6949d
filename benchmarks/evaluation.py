"""(h) Evaluation: over stored features, and from image files with worker processes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.common import (
    RN50,
    TINY,
    Section,
    build_learner,
    command,
    random_labels,
    seconds,
    side_by_side,
)
from tai_dpt.backbones import Backbone
from tai_dpt.backbones.clip_package import clip_class
from tai_dpt.datasets.images import image_batches
from tai_dpt.features import FeatureStore
from tai_dpt.features.precisions import PRECISIONS
from tai_dpt.scoring.metrics import evaluate
from tai_dpt.scoring.scores import score

CELLS = 49  # of a ResNet's map at 224 px


def stored(images: int, width: int) -> FeatureStore:
    """Random features in memory, half precision, as an image store holds them."""
    rows = F.normalize(torch.randn(images * CELLS, width), dim=-1).half()
    return FeatureStore(
        lengths=torch.full((images,), CELLS),
        local=[rows],
        global_=[rows[::CELLS].contiguous()],
        embed_dim=width,
        precision=PRECISIONS["fp16"],
    )


def write_photos(folder: Path, count: int, side: int) -> list[str]:
    """JPEG files of smooth noise, which decode as slowly as photos do."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (40, 53, 3), dtype=np.uint8))
        paths.append(str(folder / f"{number}.jpg"))
        small.resize((side * 4 // 3, side), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


@command("h", "Evaluation")
def main(section: Section, quick: bool) -> None:
    """Seconds of an epoch's test over stored features; of reading and encoding files."""
    size, images, classes = (TINY, 64, 20) if quick else (RN50, 2000, 80)
    store = stored(images, size.embed_dim)
    with torch.no_grad():
        prompts = build_learner(size.backbone(), classes)()
    truth = random_labels(images, classes).numpy()

    @torch.no_grad()
    def test_epoch() -> None:
        parts = [
            score(store.packed(index), prompts["global"], prompts["local"], scale=4, sharpness=40)
            for index in torch.arange(images).split(100)
        ]
        scores = torch.cat([part.merged for part in parts]).numpy()
        evaluate(scores, truth, threshold=float("nan"))

    (epoch,) = side_by_side([test_epoch], 2 if quick else 5)
    section.add(
        f"{images:,} images of {classes} classes over stored features (RN50 at 224 px): reading, "
        f"scoring and metrics take {1000 * epoch:,.0f} ms, {1e6 * epoch / images:,.0f} µs an image."
    )

    layers, width, count = ((1, 1, 1, 1), 8, 8) if quick else ((3, 4, 6, 3), 64, 160)
    torch.manual_seed(0)
    model = clip_class()(1024, 224, layers, width, None, 77, 64, 64, 1, 1)
    backbone = Backbone(model, name="random")
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photos(Path(folder), count, 60 if quick else 480)
        batches = [list(part) for part in np.array_split(np.arange(count), max(count // 16, 2))]

        def encode(workers: int) -> None:
            for pixels in image_batches(paths, backbone.preprocessing, batches, workers=workers):
                backbone.encode_images(pixels, position_embedding=False)

        def read_only() -> None:
            for _ in image_batches(paths, backbone.preprocessing, batches, workers=0):
                pass

        pixels = list(image_batches(paths, backbone.preprocessing, batches, workers=0))

        def encode_only() -> None:
            for batch in pixels:
                backbone.encode_images(batch, position_embedding=False)

        times = [seconds(f) for f in (read_only, encode_only, lambda: encode(0), lambda: encode(2))]
    names = ["reading alone", "encoder alone", "both, no workers", "both, 2 workers"]
    section.table(
        ["from files", "s", "images/s"],
        [[name, time, count / time] for name, time in zip(names, times, strict=True)],
    )
    section.add(
        "RN50, JPEG files of 640×480. With workers, reading goes on while the encoder works; on a "
        "machine whose cores the encoder keeps busy there is little left to gain."
    )


if __name__ == "__main__":
    main()
