"""(n) On a GPU: a training step, and encoding captions and images, in every precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.common import (
    BATCH,
    EOS,
    RN50,
    TINY,
    Section,
    build_learner,
    command,
    random_captions,
    random_labels,
    side_by_side,
)
from benchmarks.step import OurTraining
from tai_dpt.backbones import Backbone
from tai_dpt.backbones.clip_package import clip_class

_PRECISIONS = {
    "fp32": torch.float32,
    "TF32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_HEADERS = ["precision", "step of 80 classes, ms", "captions/s", "images/s"]


def _clip(quick: bool) -> Any:
    """CLIP of RN50's sizes, or toy ones, with random weights."""
    torch.manual_seed(0)
    size, vision = (TINY, (64, (1, 1, 1, 1), 2)) if quick else (RN50, (224, (3, 4, 6, 3), 64))
    text = 77, EOS + 1, size.width, size.heads, size.layers
    return clip_class()(size.embed_dim, *vision, None, *text)


def _finished(function: Callable[[], Any], device: torch.device) -> None:
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()


def figures(device: torch.device, *, quick: bool) -> list[list[object]]:
    """A row for each precision, see ``_HEADERS``."""
    batch, images, rounds = (8, 2, 1) if quick else (BATCH, 64, 10)
    captions, labels = random_captions(batch), random_labels(batch, 80)
    rows: list[list[object]] = []
    for name, dtype in _PRECISIONS.items():
        cuda, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        cuda.allow_tf32 = convolutions.allow_tf32 = name == "TF32"
        backbone = Backbone(_clip(quick), name="random", device=device, dtype=dtype)
        features = backbone.text.encode_packed(captions)
        learner = build_learner(backbone, 80).to(device)
        pixels = torch.randn(images, 3, *backbone.preprocessing.size, device=device)
        work: list[Callable[[], Any]] = [
            OurTraining(learner, features, labels).step,
            partial(backbone.text.encode_packed, captions),
            partial(backbone.encode_images, pixels, position_embedding=False),
        ]
        step, texts, seen = side_by_side([partial(_finished, one, device) for one in work], rounds)
        rows.append([name, 1000 * step, batch / texts, images / seen])
    return rows


@command("n", "On a GPU")
def main(section: Section, quick: bool) -> None:
    """fp32, TF32, bf16 and fp16 in one process."""
    if not torch.cuda.is_available():
        section.keep = False  # what another machine measured stays
        section.add("There is no GPU here that torch can use: nothing was measured.")
        return
    section.table(_HEADERS, figures(torch.device("cuda"), quick=quick))
    section.add(
        f"GPU: {torch.cuda.get_device_name()}. Batches of {BATCH} captions and 64 images, RN50's "
        "sizes, random weights; what is encoded stays on the GPU."
    )


if __name__ == "__main__":
    main()
