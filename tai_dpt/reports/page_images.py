"""The images of a run's page: each class's surest, missed and falsely found, with heat maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError
from tai_dpt.reports.page import Embedded, embedded
from tai_dpt.reports.reopened_run import ReopenedRun
from tai_dpt.scoring.results import ScoreTable

_THUMB = 176  # pixels


@dataclass(frozen=True)
class Shot:
    """An image, why it is shown, and its heat map where there is one."""

    kind: str
    caption: str
    images: tuple[Embedded, ...]


@dataclass(frozen=True)
class Block:
    """A class's images."""

    name: str
    note: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Images:
    """All of them, and by what they were chosen."""

    explanation: str
    blocks: tuple[Block, ...]


def choose_images(
    truth: NDArray[np.integer], scores: NDArray[np.floating], threshold: float | None, count: int
) -> dict[str, list[int]]:
    """At most ``count`` images of each kind for one class: what they are called, and their rows.

    Args:
        truth: (n,), 1 where the class is in the image, -1 where it is not, 0 unknown.
        scores: (n,).
        threshold: the score from which on the class is said to be there. None: nothing is decided,
            so there are no mistakes either, only high and low scores.
    """
    order = np.argsort(-scores, kind="stable")

    def first(rows: NDArray[np.intp], chosen: NDArray[np.bool_]) -> list[int]:
        return [int(row) for row in rows[chosen[rows]][:count]]

    if not truth.any():
        return {"scores highest": first(order, np.ones(len(truth), bool))}
    if threshold is None:
        return {
            "has it, scores highest": first(order, truth > 0),
            "has it, scores lowest": first(order[::-1], truth > 0),
            "lacks it, scores highest": first(order, truth < 0),
        }
    decided = scores >= threshold
    return {
        "right and surest": first(order, (truth > 0) & decided),
        "missed": first(order[::-1], (truth > 0) & ~decided),
        "false alarm": first(order, (truth < 0) & decided),
    }


def page_images(
    table: ScoreTable,
    scores: NDArray[np.floating],
    threshold: float | None,
    again: ReopenedRun,
    per_class: int,
    say: Callable[[str], None],
) -> Images | None:
    """The images of every class; None where there are none to show."""
    if not again.paths or not per_class:
        return None
    say("drawing images …")
    blocks = []
    for index, name in enumerate(table.class_names):
        truth, column = table.labels[:, index], scores[:, index]
        kinds = choose_images(truth, column, threshold, per_class)
        drawn = [
            _shot(table, float(column[row]), row, index, kind, again)
            for kind, rows in kinds.items()
            for row in rows
        ]
        shots = tuple(shot for shot in drawn if shot is not None)
        if shots:
            count = int((truth > 0).sum())
            note = f"in {count:,} {'image' if count == 1 else 'images'}" if truth.any() else ""
            blocks.append(Block(name, note, shots))
    if not blocks:
        return None
    return Images(_explanation(table, threshold, again), tuple(blocks))


def _explanation(table: ScoreTable, threshold: float | None, again: ReopenedRun) -> str:
    if not table.labels.any():
        text = "Of each class the images that score highest."
    elif threshold is None:
        text = (
            "Of each class the images that have it and score highest, those that have it and "
            "score lowest, and those that lack it and score highest. The run has no threshold, so "
            "nothing is decided."
        )
    else:
        text = (
            f"A class is said to be there from a score of {threshold:.3g} on. Right and surest: "
            "it is there and said to be, the highest scores first. Missed: it is there and not "
            "said to be, the lowest first. False alarm: it is said to be there and is not."
        )
    if again.tagger is None:
        return text
    return text + (
        f" Beside each image: the {again.tagger.method.place_value} of the class at every place, "
        "from the lowest to the highest of that image."
    )


def _shot(
    table: ScoreTable, score: float, row: int, index: int, kind: str, again: ReopenedRun
) -> Shot | None:
    from tai_dpt.io.images import read_image
    from tai_dpt.reports.heatmaps import overlay

    path = again.paths.get(table.ids[row])
    if path is None:
        return None
    try:
        image = (again.tagger.preprocessing.read if again.tagger else read_image)(path)
    except InputError:
        return None
    name = table.class_names[index]
    small = image.copy()
    small.thumbnail((_THUMB, _THUMB))
    present = [n for n, t in zip(table.class_names, table.labels[row], strict=True) if t > 0]
    known = table.labels[row].any()
    truth = ", ".join(present) or ("none of the classes" if known else "")
    alt = f"{kind}: image {table.ids[row]}" + (f", which shows {truth}" if truth else "")
    images = [embedded(small, alt, quality=75)]
    if again.tagger is not None:
        heat = again.tagger.heatmap(image, name, shifts=2)
        drawn = overlay(small, heat, float(heat.min()), float(heat.max()))
        images.append(embedded(drawn, f"where {name} scores in it", quality=75))
    return Shot(kind, f"{score:.3g}" + (f" · {truth}" if truth else ""), tuple(images))
