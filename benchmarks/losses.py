"""(e) Ranking loss and metrics against plain versions and scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from benchmarks.common import BATCH, Section, command, random_labels, side_by_side
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.metrics import average_precisions


def dense_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """The same loss as a B×C×C tensor."""
    positive = (labels > 0).float()
    pairs = positive[:, :, None] * (1 - positive)[:, None, :]
    return ((1 - scores[:, :, None] + scores[:, None, :]).clamp(min=0) * pairs).sum() / len(scores)


@command("e", "Loss and metric")
def main(section: Section, quick: bool) -> None:
    """Forward and backward of the loss; mAP of a test set."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    batch, counts = (8, (20,)) if quick else (BATCH, (20, 80, 500))
    for classes in counts:
        labels = random_labels(batch, classes)
        scores = torch.randn(batch, classes, generator=generator, requires_grad=True)

        def run(loss, scores=scores, labels=labels) -> Tensor:
            value = loss(scores, labels)
            (gradient,) = torch.autograd.grad(value, scores)
            return torch.cat([value.detach().view(1), gradient.flatten()])

        pair = [lambda: run(ranking_loss), lambda: run(dense_loss)]
        ours, plain = side_by_side(pair, 3 if quick else 7)
        error = float((pair[0]() - pair[1]()).abs().max())
        rows.append(
            [f"ranking loss, {batch}×{classes}", "B×C×C tensor", ours, plain, plain / ours, error]
        )
    images, classes = (100, 5) if quick else (20_000, 80)
    truth = random_labels(images, classes).numpy()
    predicted = np.random.default_rng(0).standard_normal((images, classes))
    both = [
        lambda: average_precisions(predicted, truth).mean(),
        lambda: 100 * average_precision_score(truth, predicted, average="macro"),
    ]
    ours, plain = side_by_side(both, 3)
    rows.append(
        [f"mAP, {images:,}×{classes}", "scikit-learn", ours, plain, plain / ours,
         abs(both[0]() - both[1]())]
    )  # fmt: skip
    section.table(["", "against", "ours, s", "theirs, s", "faster", "differs by"], rows)


if __name__ == "__main__":
    main()
