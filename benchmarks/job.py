"""(b) The whole job: COCO's captions labelled, encoded, and trained on for 20 epochs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import tai_dpt.data
from benchmarks.common import (
    BATCH,
    COCO_CAPTIONS,
    EPOCHS,
    RN50,
    TINY,
    Section,
    Size,
    build_learner,
    command,
    random_captions,
    random_labels,
    seconds,
)
from benchmarks.plain_training import PlainTraining
from benchmarks.step import OurTraining, plain_of
from tai_dpt.backbones.text import TOKENS_AT_ONCE
from tai_dpt.features import FeatureStore, StoreOptions, StorePlan
from tai_dpt.labels import NounFilter
from tai_dpt.labels.class_lists import load_vocabulary

CLASSES = 80


def sentences(count: int) -> list[str]:
    """Captions of the shipped demonstration data, over and over."""
    folder = Path(tai_dpt.data.__file__).parent / "emoji_scenes/annotations"
    content = json.loads((folder / "captions_train.json").read_text(encoding="utf-8"))
    texts = [annotation["caption"] for annotation in content["annotations"]]
    return (texts * (count // len(texts) + 1))[:count]


class Job:
    """The job on ``samples`` captions; each part gives the seconds that it would take on all."""

    def __init__(self, size: Size, dtype: torch.dtype, samples: int, batch: int) -> None:
        self.backbone = size.backbone(dtype)
        self.texts = random_captions(samples)
        self.labels = random_labels(samples, CLASSES)
        self.batch = batch
        self.scale = COCO_CAPTIONS / samples
        self.learner = build_learner(self.backbone, CLASSES)
        self.store: FeatureStore

    def encode(self, folder: str) -> float:
        def run() -> None:
            self.store = StorePlan(
                key={"run": folder},
                count=len(self.texts),
                embed_dim=self.backbone.embed_dim,
                encode=lambda rows: self.backbone.text.encode_packed([self.texts[r] for r in rows]),
                lengths=[len(text) for text in self.texts],
                global_is_last=True,
                options=StoreOptions(directory=folder, batch_rows=TOKENS_AT_ONCE, progress=None),
            ).open()

        return seconds(run) * self.scale

    def train(self, steps: int) -> float:
        generator = torch.Generator().manual_seed(0)

        def run() -> None:
            for _ in range(steps):
                index = torch.randint(len(self.texts), (self.batch,), generator=generator)
                features, labels = self.store.packed(index), self.labels[index]
                OurTraining(self.learner, features, labels).step()

        run_once = seconds(run) / steps
        return run_once * all_steps(self.batch)


def all_steps(batch: int) -> int:
    return EPOCHS * -(-COCO_CAPTIONS // batch)


def minutes(value: float) -> str:
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


@command("b", "The whole job: 118,287 COCO captions, 80 classes, 20 epochs")
def main(section: Section, quick: bool) -> None:
    """Labels, features and 20 epochs, ours in fp32 and bf16 and the plain implementation."""
    size, batch, samples, steps = (TINY, 16, 64, 2) if quick else (RN50, BATCH, 4096, 12)
    noun_filter = NounFilter(vocabulary=load_vocabulary("coco2014"))
    lines = sentences(200 if quick else 5000)
    labelling = seconds(lambda: noun_filter.labels(lines)) * COCO_CAPTIONS / len(lines)
    rows: list[tuple[str, float, float, float]] = []
    for name, dtype in (("ours, fp32", torch.float32), ("ours, bf16", torch.bfloat16)):
        job = Job(size, dtype, samples, batch)
        with tempfile.TemporaryDirectory() as folder:
            encoding = job.encode(f"{folder}/store")
            job.train(1)
            training = job.train(steps)
        rows.append((name, labelling, encoding, training))
    plain: PlainTraining = plain_of(job.backbone, build_learner(job.backbone, CLASSES), size)
    captions, labels = random_captions(batch), random_labels(batch, CLASSES)
    step: Callable[[], float] = lambda: plain.step(captions, labels)  # noqa: E731
    step()
    rows.append(("plain", labelling, 0.0, seconds(step) * all_steps(batch)))
    section.table(
        ["", "labels", "features", "20 epochs", "together"],
        [[name, *map(minutes, times), minutes(sum(times))] for name, *times in rows],
    )
    section.add(
        f"Extrapolated: labels from {len(lines):,} captions, features from {samples:,}, epochs "
        f"from {steps} steps of batch {batch} (the plain one from 1), of "
        f"{all_steps(batch):,}. Reading batches from the store is part of the steps; the plain "
        "implementation stores nothing and encodes every caption in every epoch."
    )


if __name__ == "__main__":
    main()
