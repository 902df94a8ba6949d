"""(f) Peak memory of a training step, each measured in a process of its own."""

from __future__ import annotations

import sys

import torch

from benchmarks.common import (
    BATCH,
    RN50,
    TINY,
    Section,
    build_learner,
    command,
    in_own_process,
    peak_bytes,
    random_captions,
    random_labels,
    seconds,
)
from benchmarks.step import OurTraining, plain_of


def measure(kind: str, classes: int, quick: bool) -> dict[str, float]:
    """A training step in this process: the peak in bytes, and its seconds."""
    size, batch = (TINY, 16) if quick else (RN50, BATCH)
    dtype = torch.bfloat16 if kind == "ours, bf16" else torch.float32
    backbone = size.backbone(dtype)
    captions, labels = random_captions(batch), random_labels(batch, classes)
    learner = build_learner(backbone, classes)
    if kind == "plain":
        plain = plain_of(backbone, learner, size)
        time = seconds(lambda: plain.step(captions, labels))
    else:
        ours = OurTraining(learner, backbone.text.encode_packed(captions), labels)
        if classes <= 1000:
            ours.step()  # the first one is slower
        time = seconds(ours.step)
    return {"peak": peak_bytes(), "seconds": time}


@command("f", "Memory")
def main(section: Section, quick: bool) -> None:
    """Peak resident memory of a process that trains, model and Python included."""
    wanted = (
        [("ours, fp32", 20), ("plain", 20)]
        if quick
        else [
            *(("ours, fp32", count) for count in (20, 80, 1000, 10_000)),
            *(("ours, bf16", count) for count in (80, 10_000)),
            *(("plain", count) for count in (20, 80)),
        ]
    )
    rows = []
    for kind, count in wanted:
        found = measure(kind, count, True) if quick else in_own_process(measure, kind, count, False)
        print(f"{kind}, {count:,} classes: {found['peak'] / 1e9:.2f} GB", file=sys.stderr)
        rows.append([kind, count, found["peak"] / 1e9, found["seconds"]])
    section.table(["", "classes", "peak, GB", "step, s"], rows)
    section.add(
        "Ours computes a chunk of classes' activations again in the backward pass where they "
        "would not fit: beyond 1,000 classes only the class embeddings and scores themselves "
        "grow. The plain implementation keeps activations in proportion to the classes."
    )


if __name__ == "__main__":
    main()
