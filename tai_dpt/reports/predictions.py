"""Images of what a model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from tai_dpt.reports.drawing import plain_text, save_figure
from tai_dpt.reports.heatmaps import overlay
from tai_dpt.scoring.scores import heat_map
from tai_dpt.trainers.multilabel import MultiLabelTrainer

IN_IT, NOT_IN_IT = "#1a1a1a", "#767676"


@plain_text()
def draw_predictions(trainer: MultiLabelTrainer, path: Path, *, count: int = 6) -> None:
    """Test scenes with the classes that score highest and one class's heat map.

    Scores rank, and a rank is no decision: that a class is in the scene or not is said of the
    scene, not of the model.

    Args:
        trainer: an evaluated ``TaIDPT`` trainer.
        path: the PNG to write.
        count: number of scenes, spread over the test set, those of several classes preferred.
    """
    split = trainer.images["test"]
    scores = trainer.evaluator.scores("merged")
    names = list(trainer.dataset.classnames)
    chosen = _spread(split.labels, count)
    with torch.no_grad():
        learned = trainer.model()
    embeddings = learned.get("local", learned["global"])

    figure = Figure(figsize=(2.5 * count, 6.6), layout="constrained")
    rows_of_axes = figure.subplots(3, count, squeeze=False, height_ratios=(1, 0.36, 1))
    for column, row in enumerate(chosen):
        image = trainer.preprocessing.seen(trainer.preprocessing.read(split.paths[row]))
        truth = np.flatnonzero(split.labels[row] > 0)
        best = np.argsort(-scores[row])[: len(truth) + 1]
        top, words, bottom = rows_of_axes[:, column]
        top.imshow(image)
        top.set_title("in it: " + ", ".join(names[i] for i in truth), fontsize=8)
        for line, index in enumerate(best):
            there = index in truth
            words.text(
                0.02,
                0.98 - 0.25 * line,
                f"{scores[row, index]:.2f}  {names[index]} {'●' if there else '○'}",
                color=IN_IT if there else NOT_IN_IT,
                transform=words.transAxes,
                fontsize=9,
                va="top",
            )
        shown = next((i for i in best if i in truth), best[0])
        features = trainer.test_loader.store.batch([row]).to(trainer.device)
        heat = square_map(heat_map(features, embeddings)[0, :, shown])
        bottom.imshow(overlay(image, heat, float(heat.min()), float(heat.max())))
        bottom.set_title(f"where it is most like “{names[shown]}”", fontsize=9)
        for axis in (top, words, bottom):
            axis.set_axis_off()
    figure.suptitle(
        "Highest scores of prompts learned from captions alone, in order (nothing is decided): "
        "● the class is in the scene, ○ it is not. Bright: the places most like the class",
        fontsize=11,
    )
    save_figure(figure, path, dpi=100)


def square_map(values: Tensor) -> NDArray[np.floating]:
    """Values (N,) of the cells of a square image, as (√N, √N)."""
    side = round(len(values) ** 0.5)
    return values.view(side, side).float().cpu().numpy()


def _spread(labels: NDArray[np.int8], count: int) -> list[int]:
    """Rows of images with two or three classes, evenly over the set, then any others."""
    classes = (labels > 0).sum(1)
    preferred = np.flatnonzero((classes >= 2) & (classes <= 3))
    rows = preferred if len(preferred) >= count else np.arange(len(labels))
    return [int(rows[i]) for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
