"""The images of an HTML report: each class's best and worst, with heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError
from tai_dpt.reports import page as html
from tai_dpt.reports.reopened_run import ReopenedRun
from tai_dpt.scoring.results import ScoreTable

_THUMB = 176  # pixels


def images(
    table: ScoreTable, scores: NDArray[np.floating], again: ReopenedRun, per_class: int, say: Any
) -> str:
    if not again.paths:
        return ""
    say("drawing images …")
    blocks = []
    for index, name in enumerate(table.class_names):
        truth, column = table.labels[:, index], scores[:, index]
        order = np.argsort(-column, kind="stable")
        kinds = {
            "right and surest": [r for r in order if truth[r] > 0][:per_class],
            "missed": [r for r in order[::-1] if truth[r] > 0][:per_class],
            "false alarm": [r for r in order if truth[r] < 0][:per_class],
        }
        shots = []
        for kind, rows in kinds.items():
            for row in rows:
                shots.append(_shot(table, column, int(row), index, kind, again))
        drawn = [shot for shot in shots if shot]
        if drawn:
            count = int((truth > 0).sum())
            blocks.append(
                f"<details><summary>{html.text(name)} <span class='soft'>in {count:,} images"
                f"</span></summary><div class='shots'>{''.join(drawn)}</div></details>"
            )
    if not blocks:
        return ""
    blocks[0] = blocks[0].replace("<details>", "<details open>", 1)
    heat = (
        " Beside each: the local score of the class at every place, from the least to the most "
        "similar place of that image."
        if again.tagger is not None
        else ""
    )
    return (
        "<p>Of each class the images that have it and score highest, those that have it and "
        f"score lowest, and those that lack it and score highest.{heat}</p>{''.join(blocks)}"
    )


def _shot(
    table: ScoreTable,
    column: NDArray[np.floating],
    row: int,
    index: int,
    kind: str,
    again: ReopenedRun,
) -> str:
    from tai_dpt.io.images import read_image
    from tai_dpt.reports.heatmaps import overlay

    path = again.paths.get(table.ids[row])
    if path is None:
        return ""
    try:
        image = read_image(path)
    except InputError:
        return ""
    name = table.class_names[index]
    small = image.copy()
    small.thumbnail((_THUMB, _THUMB))
    truth = ", ".join(n for n, t in zip(table.class_names, table.labels[row], strict=True) if t > 0)
    alt = f"{kind}: image {table.ids[row]}, which shows {truth or 'none of the classes'}"
    images = html.image(small, alt, quality=75)
    if again.tagger is not None:
        heat = again.tagger.heatmap(image, name, shifts=2)
        drawn = overlay(small, heat, float(heat.min()), float(heat.max()))
        images += html.image(drawn, f"where {name} scores in it", quality=75)
    return (
        f"<figure><div class='pair'>{images}</div><figcaption><strong>{html.text(kind)}</strong> "
        f"{column[row]:.2f} · {html.text(truth or 'none of the classes')}</figcaption></figure>"
    )
