"""(k) The methods after the paper: time from stored features, and memory, each in its process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import (
    BATCH,
    RN50,
    TINY,
    Section,
    command,
    in_own_process,
    peak_bytes,
    random_labels,
    seconds,
)
from benchmarks.evaluation import stored
from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.concepts import ContextTable, class_concepts, context_guided_scores
from tai_dpt.scoring.cooccurrence import RankFusion
from tai_dpt.scoring.linear_head import add_noise, linear_head_scores
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.patch_classifier import PatchClassifier, patch_setting
from tai_dpt.scoring.rectification import rectify_scores
from tai_dpt.scoring.scores import Scores, score

EPOCHS = 20
Scorer = Callable[[AnyFeatures], Scores]


class Stored:
    """Random features of images and captions, as the stores hold them."""

    def __init__(self, *, images: int, captions: int, classes: int, width: int, side: int) -> None:
        torch.manual_seed(0)
        self.store, self.side = stored(images, width), side
        self.captions = F.normalize(torch.randn(captions, width), dim=1).half()
        self.labels = random_labels(captions, classes)
        self.embeddings = F.normalize(torch.randn(classes, width), dim=1)
        self.pairs = [(a, b) for a in range(classes) for b in range(a + 1, min(a + 5, classes))]
        self.pair_embeddings = F.normalize(torch.randn(len(self.pairs), width), dim=1)

    def batches(self, most: int | None = None) -> Iterator[AnyFeatures]:
        count = min(most or len(self.store), len(self.store))
        for start in range(0, count, 100):
            yield self.store.packed(torch.arange(start, min(start + 100, count)))


def plain(data: Stored, embeddings: Tensor | None = None) -> Scorer:
    given = data.embeddings if embeddings is None else embeddings
    return lambda features: score(features, given, given, scale=100.0, sharpness=100.0)


def rectified(data: Stored) -> Scorer:
    scorer = plain(data)
    return lambda features: rectify_scores(scorer(features), "standardise")


def concepts_of(data: Stored) -> Tensor:
    batches = zip(data.captions.split(BATCH), data.labels.split(BATCH), strict=True)
    return class_concepts(((f.float(), labels) for f, labels in batches), fallback=data.embeddings)


def concepts(data: Stored) -> Scorer:
    return plain(data, concepts_of(data))


def context_guided(data: Stored) -> Scorer:
    table = ContextTable.of(data.captions[: data.side**3].float(), seed=0)
    found, how = concepts_of(data), {"sharpness_global": 80.0, "sharpness_local": 40.0}
    return lambda features: context_guided_scores(features, found, table, **how)


def comc(data: Stored) -> Scorer:
    head = torch.zeros_like(data.embeddings, requires_grad=True)
    optimiser = torch.optim.Adam([head], lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(data.captions), generator=generator).split(BATCH):
            noisy = add_noise(data.captions[rows].float(), 0.1, generator=generator)
            loss = ranking_loss(noisy @ head.T, data.labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    learned = head.detach()
    return lambda features: linear_head_scores(
        features, learned, data.embeddings, weight=0.3, scale=100.0
    )


def sparc(data: Stored) -> Scorer:
    count = len(data.embeddings)
    scorer = plain(data, torch.cat([data.embeddings, data.pair_embeddings]))
    pool = torch.cat([scorer(features).merged for features in data.batches()])
    fusion = RankFusion(
        classes=count, pairs=data.pairs, pool=pool[:, :count], pair_pool=pool[:, count:]
    )

    def fused(features: AnyFeatures) -> Scores:
        merged = scorer(features).merged
        both = fusion(merged[:, :count], merged[:, count:])
        return Scores(both, both, both)

    return fused


def piaa(data: Stored) -> Scorer:
    setting = patch_setting("coco2014")
    pool = (features.local.float() for features in data.batches())
    classifier = PatchClassifier.fit(data.embeddings, pool, setting=setting)
    return lambda features: classifier.scores(features, data.embeddings, setting=setting)


METHODS: dict[str, Callable[[Stored], Scorer]] = {
    "zero-shot": plain,
    "standardised": rectified,
    "concepts": concepts,
    "concepts, context-guided": context_guided,
    "CoMC": comc,
    "SPARC": sparc,
    "PIAA": piaa,
}


def measure(name: str, quick: bool) -> dict[str, float]:
    """A method in this process: seconds to make it, to score 1,000 images; its peak in bytes."""
    sizes = (
        {"images": 40, "captions": 200, "classes": 20, "width": TINY.embed_dim, "side": 4}
        if quick
        else {
            "images": 1000,
            "captions": 64_000,
            "classes": 80,
            "width": RN50.embed_dim,
            "side": 40,
        }
    )
    data = Stored(**sizes)
    scorers: list[Scorer] = []
    making = seconds(lambda: scorers.append(METHODS[name](data)))
    slow = name == "concepts, context-guided" and not quick
    images = 2 if slow else len(data.store)  # a position is compared with every caption

    def run() -> None:
        with torch.no_grad():
            for features in data.batches(images):
                scorers[0](features)

    if not slow:
        run()  # the first one is slower
    run_time = seconds(run) * 1000 / images
    return {"making": making, "images": run_time, "peak": peak_bytes()}


@command("k", "The methods after the paper")
def main(section: Section, quick: bool) -> None:
    """Seconds from stored features, and the peak of the process, Python included."""
    rows = []
    for name in METHODS:
        found = measure(name, quick) if quick else in_own_process(measure, name, False)
        rows.append([name, found["making"], found["images"], found["peak"] / 1e9])
    section.table(["method", "making it, s", "1,000 images, s", "peak, GB"], rows)
    section.add(
        "RN50's width, 80 classes, 64,000 captions, 1,000 images of 49 places; class embeddings "
        "are given. Making it is one pass over the captions for concepts, 20 epochs over them for "
        "CoMC, one over the images for SPARC and PIAA. Context-guided features are timed on two "
        "images. TaI-DPT's step is part a."
    )


if __name__ == "__main__":
    main()
