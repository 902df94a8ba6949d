"""(a) A training step: ours against what the public code does; what is left of it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.common import (
    BATCH,
    RN50,
    TINY,
    Section,
    Size,
    build_learner,
    command,
    linear_layers,
    operators,
    random_captions,
    random_labels,
    side_by_side,
)
from benchmarks.plain_training import PlainTraining
from tai_dpt.backbones import Backbone
from tai_dpt.features import PackedFeatures
from tai_dpt.prompts.learner import PromptLearner, class_tokens
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import score

_EXTRAPOLATED = (
    " † It does not fit in memory: extrapolated from the time for 80 classes, of which the "
    "captions' part does not grow."
)


class OurTraining:
    """A training step as the trainer takes it, from stored caption features."""

    def __init__(self, learner: PromptLearner, features: PackedFeatures, labels: Tensor) -> None:
        self.learner, self.features, self.labels = learner, features, labels
        self.optimizer = torch.optim.SGD(learner.parameters(), lr=0.0, momentum=0.9)

    def step(self) -> float:
        prompts = self.learner()
        scores = score(
            self.features, prompts["global"], prompts["local"], scale=4.0, sharpness=50.0
        )
        loss = ranking_loss(scores.global_, self.labels) + ranking_loss(scores.local, self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def rows_of(learner: PromptLearner) -> int:
    """Token positions that a step runs through the encoder, both prompts'."""
    return 2 * sum(chunk.layout.rows for chunk in learner.encoder.whole.chunks)


def plain_of(backbone: Backbone, learner: PromptLearner, size: Size) -> PlainTraining:
    tokens = class_tokens(learner.class_names, backbone.tokenize)
    names = [(*t.name_ids, *t.tail_ids[:-1]) for t in tokens]
    contexts = [p.detach() for p in learner.parameters()]
    return PlainTraining(size, names, contexts)


@command("a", "A training step")
def main(section: Section, quick: bool) -> None:
    """Ours in fp32 and bf16 against the plain implementation, for 20, 80 and 1,000 classes."""
    size, batch = (TINY, 16) if quick else (RN50, BATCH)
    counts = (20, 80) if quick else (20, 80, 1000)
    backbone = size.backbone()
    captions = random_captions(batch)
    features = backbone.text.encode_packed(captions)
    half = size.backbone(torch.bfloat16)
    rows = []
    for count in counts:
        labels = random_labels(batch, count)
        ours = OurTraining(build_learner(backbone, count), features, labels)
        lower = OurTraining(build_learner(half, count), features, labels)
        products = linear_layers(size, rows_of(ours.learner), torch.float32)
        rounds = 3 if quick or count > 80 else 8
        times = side_by_side([ours.step, lower.step, products], rounds)
        if count <= 80:
            plain = plain_of(backbone, ours.learner, size)
            plain_time, encoding = side_by_side(
                [partial(plain.step, captions, labels), partial(plain.features, captions)], 2
            )
            per_class = (plain_time - encoding) / count
            ours.step()
            loss, reference = ours.step(), plain.step(captions, labels)
            error = max(
                relative_error(ours.learner.get_parameter(f"ctx_{name}").grad, context.grad)
                for name, context in zip(ours.learner.names, plain.contexts, strict=True)
            )
            same = f"{abs(loss - reference) / reference:.0e}", f"{error:.0e}"
            shown = f"{plain_time:.2f} s"
        else:
            plain_time = encoding + per_class * count
            shown, same = f"{plain_time:.0f} s †", ("", "")
        rows.append(
            [
                count, shown, f"{times[0]:.3f} s", f"{plain_time / times[0]:.0f}×", *same,
                f"{2 * times[2] / times[0]:.0%}",
                f"{times[1]:.3f} s", f"{plain_time / times[1]:.0f}×",
            ]
        )  # fmt: skip
        if count == 80:
            profiled = operators(ours.step)
    section.table(
        [
            "classes", "plain", "ours, fp32", "faster", "loss differs by", "gradients by",
            "of the limit", "ours, bf16", "faster",
        ],
        rows,
    )  # fmt: skip
    section.add(
        f"Batch {batch}. *Of the limit*: the time of the bare matrix products that the step cannot "
        "do without (every token position once forward, once backward), run in turns with it, "
        "divided by the step's. Frozen weights have no gradient, so backward costs as much as "
        "forward." + ("" if quick else _EXTRAPOLATED)
    )
    section.add("What is left of the step of 80 classes in fp32, by operator:")
    section.table(["operator", "share of CPU time", "calls"], profiled)


def relative_error(ours: Tensor | None, reference: Tensor | None) -> float:
    """Largest deviation, relative to the largest reference value."""
    assert ours is not None and reference is not None
    return float((ours - reference).abs().max() / reference.abs().max())


if __name__ == "__main__":
    main()
