"""How well the noun filter's labels agree with what is in the images, and how fast it is.

    python benchmarks/noun_filter.py val2014_labelled.jsonl [--vocabulary coco2014]

The file has JSON lines of {caption, image_id, labels}, ``labels`` being the indices of the classes
that are really in the caption's image. Captions leave much unsaid, so recall has a ceiling far
below 1. The stop lists of the shipped vocabularies were earned on the images at even positions
of the sorted ids (``--half even``); ``--half odd`` measures on the others alone.

The preset "paper" needs NLTK and its data; it is left out where they are missing.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from tai_dpt.cli.grow_vocabulary import read_evidence
from tai_dpt.errors import InputError
from tai_dpt.labels import PRESETS, NounFilter
from tai_dpt.labels.class_lists import load_vocabulary


def counts(
    found: list[tuple[int, ...]], truth: list[frozenset[int]], classes: int
) -> NDArray[np.float64]:
    """(3, C): per class the captions labelled rightly, labelled wrongly, and missed."""
    total = np.zeros((3, classes))
    for labels, present in zip(found, truth, strict=True):
        for index in labels:
            total[0 if index in present else 1, index] += 1
        for index in present.difference(labels):
            total[2, index] += 1
    return total


def scores(total: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Precision, recall and F1 of counts (3, …); 0 where nothing was labelled or present."""
    right, wrong, missed = total
    precision = right / np.maximum(right + wrong, 1)
    recall = right / np.maximum(right + missed, 1)
    f1 = 2 * right / np.maximum(2 * right + wrong + missed, 1)
    return precision, recall, f1


@click.command()
@click.argument("labelled", type=click.Path(path_type=Path))
@click.option("--vocabulary", default="coco2014", show_default=True)
@click.option("--half", type=click.Choice(["even", "odd", "all"]), default="all", show_default=True)
@click.option("--classes", default=15, show_default=True, help="Rows of the table per class.")
def main(labelled: Path, vocabulary: str, half: str, classes: int) -> None:
    """Micro and macro precision, recall and F1 of both presets on LABELLED."""
    words = load_vocabulary(vocabulary)
    evidence = read_evidence(labelled, half=half)
    captions = [row.caption for row in evidence]
    truth = [row.classes for row in evidence]
    totals: dict[str, NDArray[np.float64]] = {}
    rows = []
    for preset in PRESETS:
        try:
            noun_filter = NounFilter(vocabulary=words, preset=preset)
        except InputError as error:
            click.echo(f"preset {preset} left out: {error}")
            continue
        start = time.process_time()
        found = noun_filter.labels(captions)
        speed = len(captions) / (time.process_time() - start)
        total = totals[preset] = counts(found, truth, len(words))
        micro = scores(total.sum(axis=1))
        macro = [values[total[[0, 2]].sum(axis=0) > 0].mean() for values in scores(total)]
        rows.append([preset, *micro, *macro, sum(map(bool, found)) / len(found), speed])
    head = ["preset", *(f"{a} {b}" for a in ("micro", "macro") for b in ("P", "R", "F1"))]
    click.echo(f"{len(captions):,} captions, images: {half}")
    form = ("", *[".3f"] * 7, ",.0f")
    click.echo(tabulate(rows, [*head, "labelled", "captions/s"], floatfmt=form))
    if classes and len(totals) == len(PRESETS):
        click.echo(f"\nThe {classes} classes where they differ most (F1):")
        each = {preset: scores(total) for preset, total in totals.items()}
        gap = each["default"][2] - each["paper"][2]
        table = [
            [words.names[i], *(each[preset][k][i] for preset in PRESETS for k in range(3)), gap[i]]
            for i in np.argsort(-np.abs(gap), kind="stable")[:classes]
        ]
        head = ["class", *(f"{p} {b}" for p in PRESETS for b in ("P", "R", "F1")), "gap"]
        click.echo(tabulate(table, head, floatfmt=".3f"))


if __name__ == "__main__":
    main()
