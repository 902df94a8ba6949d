"""(m) What grows with classes and captions, and what does not; features in fewer bytes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from benchmarks.common import (
    BATCH,
    PAGE,
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
    side_by_side,
)
from benchmarks.step import OurTraining
from benchmarks.tagging import make_photos, make_tagger, tag
from tai_dpt.datasets.corpora.cache import load_corpus
from tai_dpt.datasets.corpora.readers import read_captions
from tai_dpt.datasets.corpora.sampling import Keep
from tai_dpt.features import Features
from tai_dpt.features.precisions import PRECISIONS
from tai_dpt.io.cores import usable_cores
from tai_dpt.io.shipped import shipped_data
from tai_dpt.labels import NounFilter
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.reports.drawing import save_figure
from tai_dpt.scoring.class_sampling import draw_classes
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import score

DRAWN = 256  # what the trainer draws of more than 1,000 classes
PER_CLASS = 1000


class SampledTraining(OurTraining):
    """A step that sees a draw of the classes, as the trainer takes it."""

    def step(self) -> float:
        named = (self.labels > 0).any(dim=0)
        draw = draw_classes(named, DRAWN, generator=torch.Generator().manual_seed(0))
        prompts = self.learner(draw.classes.tolist())
        scores = score(
            self.features, prompts["global"], prompts["local"], scale=4.0, sharpness=50.0
        )
        labels, weights = self.labels[:, draw.classes], draw.pair_weights
        loss = ranking_loss(scores.global_, labels, weights=weights)
        loss = loss + ranking_loss(scores.local, labels, weights=weights)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def measure_step(classes: int, quick: bool, long: bool) -> dict[str, float]:
    """A step of so many classes, in turns with one of 80; this process's peak."""
    size, batch = (TINY, 16) if quick else (RN50, BATCH)
    backbone = size.backbone()
    features = backbone.text.encode_packed(random_captions(batch))
    kind = SampledTraining if classes > 1000 else OurTraining
    learner = build_learner(backbone, classes, long=long)
    other = kind(learner, features, random_labels(batch, classes))
    usual = OurTraining(build_learner(backbone, 80), features, random_labels(batch, 80))
    ours, base = side_by_side([other.step, usual.step], 2 if quick else 4)
    return {"seconds": ours, "of 80": base, "peak": peak_bytes()}


def write_captions(path: Path, count: int) -> None:
    """Captions made of halves of the shipped world's, no two of a million alike."""
    found = shipped_data() / "emoji_scenes" / "annotations" / "captions_train.json"
    halves = [text.split(" ") for text in read_captions(found)]
    halves = [words for words in halves if len(words) > 3]
    draw = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as stream:
        for start in range(0, count, 100_000):
            chosen = draw.integers(len(halves), size=(min(count - start, 100_000), 2))
            stream.writelines(
                " ".join([*halves[a][: len(halves[a]) // 2], *halves[b][len(halves[b]) // 2 :]])
                + f" {start + row}\n"
                for row, (a, b) in enumerate(chosen)
            )


def measure_corpus(path: str, workers: int) -> dict[str, float]:
    """Reading, labelling and sampling a caption file: seconds, and the peak over the imports'."""
    noun_filter = NounFilter(vocabulary=load_vocabulary("coco2014"))
    before = peak_bytes()
    start = time.perf_counter()
    corpus = load_corpus([path], noun_filter, keep=Keep(per_class=PER_CLASS), workers=workers)
    took = time.perf_counter() - start
    peak = peak_bytes()
    return {"seconds": took, "peak": peak, "more": peak - before, "kept": len(corpus)}


def _here(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """In this process: peaks mean nothing, but a trial run is quick."""
    return function(*arguments)


def growth(sizes: list[int], values: list[float]) -> str:
    """The exponent with which values grow from each size to the next."""
    pairs = zip(pairwise(sizes), pairwise(values), strict=True)
    return ", ".join(f"{np.log(b / a) / np.log(n / m):.2f}" for (m, n), (a, b) in pairs)


def draw_growth(path: Path, lines: dict[str, tuple[list[int], list[float]]]) -> None:
    """A panel for each line: seconds by size, both logarithmic, beside the slope 1 of its first
    point."""
    figure = Figure(figsize=(4 * len(lines), 3.2), layout="constrained")
    panels = figure.subplots(1, len(lines))
    for axis, (name, (sizes, times)) in zip(panels, lines.items(), strict=True):
        axis.loglog(sizes, times, "o-", color="#0b5fa5", label="measured")
        linear = [times[0] * size / sizes[0] for size in sizes]
        axis.loglog(sizes, linear, ":", color="#888888", label="in proportion")
        for size, took in zip(sizes, times, strict=True):
            axis.annotate(
                f"{took:.1f} s" if took < 10 else f"{took:.0f} s",
                (size, took),
                (0, 6),
                textcoords="offset points",
                ha="center",
            )
        axis.set(xlabel=name, ylabel="seconds", ylim=(min(times) / 3, max(*times, *linear) * 3))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.margins(x=0.15)
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right")
    save_figure(figure, path, dpi=130)


def classes_part(section: Section, quick: bool) -> tuple[list[int], list[float]]:
    counts = [80, 1100] if quick else [80, 1000, 10_000, 40_000]
    own = _here if quick else in_own_process
    rows, times = [], []
    for count, long in [*((count, False) for count in counts), (counts[-1], True)]:
        found = own(measure_step, count, quick, long)
        if not long:
            times.append(found["seconds"])
        how = f"{DRAWN} drawn" if count > 1000 else "all"
        rows.append(
            [
                f"{count:,}", "long" if long else "COCO's", how, f"{found['seconds']:.3f} s",
                f"{found['seconds'] / found['of 80']:.2f} ×", found["peak"] / 1e9,
            ]
        )  # fmt: skip
    section.table(
        ["classes", "names", "in a step", "a step", "against 80 classes", "peak, GB"], rows
    )
    section.add(
        f"Growth of a step's time with the classes, as an exponent: {growth(counts, times)}. "
        "Above 1,000 classes a step sees a draw of 256, see `CLASSES_PER_STEP`. Names are COCO's "
        "again and again, or in pairs and threes: of twice the tokens, and a step costs by tokens."
    )
    return counts, times


def captions_part(section: Section, quick: bool) -> tuple[list[int], list[float]]:
    counts = [2_000, 4_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000]
    cores = usable_cores()
    own = _here if quick else in_own_process
    rows, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.txt"
        for count in counts:
            write_captions(path, count)
            found = own(measure_corpus, str(path), cores)
            times.append(found["seconds"])
            alone = ""
            if 100_000 <= count <= 1_000_000:
                one = own(measure_corpus, str(path), 1)["seconds"]
                alone = f"{one / found['seconds'] / cores:.0%}"
            rows.append(
                [
                    f"{count:,}", f"{found['seconds']:.1f} s", f"{count / found['seconds']:,.0f}",
                    alone, f"{found['kept']:,.0f}", found["peak"] / 1e9, found["more"] / 1e9,
                ]
            )  # fmt: skip
    section.table(
        [
            "captions", f"time, {cores} cores", "captions/s", "efficiency", "kept", "peak, GB",
            "over the imports, GB",
        ],
        rows,
    )  # fmt: skip
    section.add(
        f"Read from one text file, labelled with COCO's vocabulary and reduced to {PER_CLASS:,} a "
        f"class. Growth of the time, as exponents: {growth(counts, times)}. *Efficiency*: the time "
        "of one process, divided by this one's and by the number of cores."
    )
    return counts, times


def photos_part(section: Section, quick: bool) -> tuple[list[int], list[float]]:
    counts = [4, 8] if quick else [125, 500, 2000]
    cores = usable_cores()
    times = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tagger = make_tagger(folder, quick=quick)
        rows: list[list[Any]] = []
        for count in counts:
            images = folder / f"photos-{count}"
            make_photos(images, count, quick=quick)
            ways = [(1, cores)] if count < counts[-1] else [(1, cores), (1, 1), (cores, 1)]
            for processes, threads in ways:
                took, peaks = tag(tagger, images, processes=processes, threads=threads, here=quick)
                if threads == cores and processes == 1:
                    times.append(took)
                rows.append(
                    [
                        f"{count:,}", processes, threads, f"{took:.1f} s", f"{count / took:.1f}",
                        max(peaks),
                    ]
                )  # fmt: skip
    section.table(
        ["photos", "processes", "threads each", "time", "photos/s", "peak of one, GB"], rows
    )
    alone, together = (float(row[4]) for row in rows[-2:])
    section.add(
        "`tai-dpt tag` from start to end, RN50, JPEGs of 500×375. Growth of the time, as "
        f"exponents: {growth(counts, times)}. {cores} processes of a thread each are "
        f"{together / alone:.2f} × as fast as one of them; one process of {cores} threads keeps "
        "the same cores busy."
    )
    return counts, times


def precisions_part(section: Section, quick: bool) -> None:
    images, width = (50, 64) if quick else (1000, 1024)
    torch.manual_seed(0)
    local = torch.nn.functional.normalize(torch.randn(images * 49, width), dim=1)
    classes = torch.nn.functional.normalize(torch.randn(80, width), dim=1)

    def scores(rows: torch.Tensor) -> torch.Tensor:
        own = rows.view(images, 49, width)
        mask = torch.ones(images, 49, dtype=torch.bool)
        features = Features(own[:, 0], own, mask)
        return score(features, classes, classes, scale=4.0, sharpness=40.0).merged

    exact = scores(local)
    rows: list[list[Any]] = []
    for precision in PRECISIONS.values():
        kept = precision.stored(local)
        reading = min(seconds(lambda p=precision, k=kept: p.read(k, torch.float32)) for _ in "123")
        error = float((scores(precision.read(kept, torch.float32)) - exact).abs().max())
        rows.append(
            [
                precision.name, kept.numel() * kept.element_size() / images / 1e3,
                f"{error:.1e}", f"{float(exact.std()):.2f}", f"{1e3 * reading:.0f} ms",
            ]
        )  # fmt: skip
    section.table(
        ["stored as", "kB an image", "score off by", "scores' deviation", "reading 1,000 images"],
        rows,
    )
    section.add(f"Random features of {images:,} images, 49 places, {width} numbers each.")


@command("m", "Scale")
def main(section: Section, quick: bool) -> None:
    """Steps of up to 40,000 classes, corpora of up to ten million captions, stored precisions."""
    lines = {
        "classes of a step": classes_part(section, quick),
        "captions, read and labelled": captions_part(section, quick),
        "photos, tagged": photos_part(section, quick),
    }
    precisions_part(section, quick)
    if section.keep:
        draw_growth(PAGE.parents[1] / "docs" / "growth.png", lines)
        section.add("![Growth of time](../docs/growth.png)")


if __name__ == "__main__":
    main()
