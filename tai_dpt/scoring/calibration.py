"""Scores to probabilities, and the threshold from which on a class is said to be there.

Platt scaling, one logistic curve for all classes with an offset a class: the offsets share a
normal prior, so that a class with few examples stays near the others (Platt, 1999; the shared
prior is what keeps a class without any positive usable).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tai_dpt.errors import InputError, first_few
from tai_dpt.io.reading import Count, Finite, Fraction, NotNegative, checked
from tai_dpt.scoring.metrics import (
    best_f1_threshold,
    check_finite,
    f1_scores,
    known_cardinality,
)

Array = NDArray[Any]

#: where a calibration comes from, of the first three the more trustworthy later
SOURCES = (
    *("captions", "captions and unlabelled images", "labelled images"),
    "what the tagger said before it was adapted",
)

_PRIOR = 1.0  # standard deviation of a class's offset, in logits
_ENOUGH_CLASSES = 8  # to standardise a sample's scores over its classes
_ENOUGH_IMAGES = 10
_ENOUGH_LABELS = 10  # positives of a class, and negatives, for a threshold of its own


@dataclass(frozen=True)
class Calibration:
    """``P(class in image) = sigmoid(slope · score + offset of the class)``.

    Scores of captions and of images lie elsewhere and spread differently (CLIP's modality
    gap), so one fitted to captions alone first standardises each sample's scores over its
    classes, where there are enough of them.

    Args:
        source: one of ``SOURCES``.
        slope: of the logistic curve, the same for all classes.
        offsets: (C,).
        threshold: the probability with the best F1 (all decisions together) on the samples.
        samples: how many it was fitted to.
        positives: how many of them each class had.
        precision: at ``threshold`` on those samples, in percent.
        recall: the same.
        f1: the same.
        spread: standard deviation of all scores it was fitted to.
        cardinality: classes to expect in an image: as many as the samples have on average by
            their known labels, counting captions that name none of the classes, which are not
            among them.
        standardised: whether a sample's scores are standardised first.
        images: unlabelled images that the captions' scores were aligned with.
        thresholds: (C,), one of each class in place of ``threshold``; empty: that one for all.
    """

    source: str
    slope: Finite
    offsets: tuple[Finite, ...]
    threshold: Fraction
    samples: Count
    positives: tuple[Count, ...]
    precision: Finite
    recall: Finite
    f1: Finite
    spread: NotNegative
    cardinality: NotNegative
    standardised: bool = False
    images: Count = 0
    thresholds: tuple[Fraction, ...] = ()

    @property
    def limits(self) -> NDArray[np.float64]:
        """The probability from which on each class is said to be there, (C,)."""
        return np.asarray(self.thresholds or (self.threshold,) * len(self.offsets))

    def probabilities(self, scores: Array) -> NDArray[np.float64]:
        """(n, C) from merged scores (n, C)."""
        scores = np.asarray(scores, np.float64)
        if self.standardised:
            scores = _standardised(scores)
        logits = self.slope * scores + np.asarray(self.offsets)
        found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        return found

    def account(self, class_names: Sequence[str]) -> str:
        """A few lines for people: from what, how well, and what to be wary of."""
        samples = "images" if self.source in SOURCES[2:] else "captions"
        lines = [
            f"calibrated on {self.source}: {self.samples:,} {samples} with "
            f"{sum(self.positives) / self.samples:.1f} classes each",
            f"a class is said to be there from {self._limit()} on, where F1 on those {samples} is "
            f"best: {self.f1:.0f}% (precision {self.precision:.0f}%, recall {self.recall:.0f}%)",
        ]
        if self.source == SOURCES[3]:
            lines.append(
                "no label was read: F1 is agreement with that tagger; 'tai-dpt calibrate "
                "--labelled' says how right it is"
            )
        if self.thresholds:
            own = sum(limit != self.threshold for limit in self.thresholds)
            lines.append(
                f"{own} of {len(self.thresholds)} classes have a threshold of their own; the "
                f"others, with fewer than {_ENOUGH_LABELS} {samples} that show them or that do "
                f"not, the common one of {self.threshold:.2f}"
                if own
                else f"no class has a threshold of its own: that takes {_ENOUGH_LABELS} {samples} "
                f"that show it and {_ENOUGH_LABELS} that do not"
            )
        if self.images:
            lines.insert(
                1,
                f"brought into line with {self.images:,} unlabelled images, expecting "
                f"{self.cardinality:.2g} of the classes in an image",
            )
        pairs = zip(class_names, self.positives, strict=True)
        few = [str(name) for name, count in pairs if count < 5]
        if few:
            listed = first_few(few, 6)
            lines.append(
                f"in fewer than 5 of those {samples}, so that their probabilities are mostly "
                f"learned from the other classes: {listed}"
            )
        if self.source == SOURCES[0]:
            lines.append(
                "captions only stand in for images; 'tai-dpt calibrate' does better with "
                f"{_ENOUGH_IMAGES} or more unlabelled images, and best with labelled ones"
            )
        if self.standardised:
            lines.append(
                "until then classes are weighed against each other in every image, so one that "
                "shows none of them is often given one"
            )
        if self.source == SOURCES[0] and not self.standardised:
            lines.append(
                f"with fewer than {_ENOUGH_CLASSES} classes captions say little of where the "
                "threshold on images lies: do calibrate, or ask for the likeliest (--top 1)"
            )
        return "\n".join(lines)

    def _limit(self) -> str:
        least, most = (f"{limit(self.limits):.2f}" for limit in (np.min, np.max))
        if least == most:
            return f"a probability of {least}"
        return f"probabilities of {least} to {most}"

    def aligned(self, image_scores: Array, *, expected: float | None = None) -> Calibration:
        """A captions' calibration, not standardised, carried over to unlabelled images.

        Their scores are stretched to the captions' spread, then shifted so that as many classes
        are expected in an image as a caption names. Ten images are enough for that.

        Args:
            expected: classes to expect in an image, in place of ``cardinality``.

        Raises:
            InputError: too few images, a score that is not finite, or more classes expected
                than there are.
        """
        check_finite(image_scores)
        expected = self.cardinality if expected is None else expected
        if not 0 < expected < len(self.offsets):
            raise InputError(
                f"{expected:g} classes cannot be expected in an image; it must be more than 0 and "
                f"less than {len(self.offsets)}, the number of classes"
            )
        if len(image_scores) < _ENOUGH_IMAGES:
            raise InputError(
                f"{len(image_scores)} images are too few to calibrate with; give at least "
                f"{_ENOUGH_IMAGES} of the kind that will be tagged"
            )
        slope = self.slope * self.spread / max(float(np.std(image_scores)), 1e-9)
        scores = np.asarray(image_scores, np.float64)
        offsets = np.asarray(self.offsets)

        def moved(shift: float) -> Calibration:
            return replace(self, slope=slope, offsets=tuple(map(float, offsets + shift)))

        low, high = -100 - slope * np.abs(scores).max(), 100 + slope * np.abs(scores).max()
        for _ in range(80):
            middle = (low + high) / 2
            if moved(middle).probabilities(scores).sum(1).mean() > expected:
                high = middle
            else:
                low = middle
        return replace(
            moved(float(low)), source=SOURCES[1], images=len(scores), cardinality=expected
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them; version 0.1 reads them unless classes have
        thresholds of their own."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return values if self.thresholds else {k: v for k, v in values.items() if k != "thresholds"}

    @classmethod
    def from_dict(cls, values: Any, *, where: str = "calibration", remedy: str = "") -> Calibration:
        """What ``as_dict`` wrote; errors as in ``checked``."""
        if isinstance(values, Mapping):  # as 0.1 said
            values = {name.replace("pictures", "images"): value for name, value in values.items()}
            values["source"] = str(values.get("source")).replace("pictures", "images")
        return checked(cls, values, where=where, remedy=remedy)


def _standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each sample's scores (n, C) with mean 0 and standard deviation 1 over its classes."""
    spread = np.maximum(scores.std(axis=1, keepdims=True), 1e-9)
    result: NDArray[np.float64] = (scores - scores.mean(axis=1, keepdims=True)) / spread
    return result


def calibrate_on_captions(scores: Array, labels: Array) -> tuple[Calibration, Calibration]:
    """What captions give: a calibration to use as it is, and one to align with images.

    >>> labels = np.eye(10, dtype=int)
    >>> usable, plain = calibrate_on_captions(labels + 0.1, labels)
    >>> usable.standardised, plain.standardised  # by 10 classes a caption
    (True, False)
    """
    plain = calibrate(scores, labels, source=SOURCES[0])
    if np.shape(scores)[1] < _ENOUGH_CLASSES:
        return plain, plain
    standardised = _standardised(np.asarray(scores, np.float64))
    usable = replace(calibrate(standardised, labels, source=SOURCES[0]), standardised=True)
    return usable, plain


def calibrate(
    scores: Array,
    labels: Array,
    *,
    source: str,
    ignore: Array | None = None,
    per_class: bool = False,
) -> Calibration:
    """Fit a calibration to labelled samples.

    Args:
        scores: merged scores (n, C).
        labels: (n, C), positive where > 0.
        source: one of ``SOURCES``.
        ignore: (n, C) bool, unknown labels; left out: those that are 0 in a matrix that has -1
            too.
        per_class: give each class the threshold that is best for it alone, where it has
            ``_ENOUGH_LABELS`` positives and as many negatives; the others keep the common one.

    Raises:
        InputError: no samples, a score that is not finite, or no positive or no negative label
            among them.

    >>> scores, labels = np.array([[3.0], [2.0], [1.0], [0.0]]), np.array([[1], [1], [0], [0]])
    >>> calibration = calibrate(scores, labels, source="labelled images")
    >>> (calibration.probabilities(scores) >= calibration.threshold)[:, 0]
    array([ True,  True, False, False])
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.shape != labels.shape or not scores.size:
        raise InputError(f"{labels.shape} labels do not go with {scores.shape} scores")
    check_finite(scores)
    if ignore is None:
        ignore = (labels == 0) & bool((labels < 0).any())
    known = ~np.asarray(ignore)
    positive = (labels > 0) & known
    if not positive.any() or positive[known].all():
        kind = "positive" if not positive.any() else "negative"
        way = "show" if kind == "positive" else "do not show"
        raise InputError(
            f"no {kind} label among the samples: there is nothing to calibrate on; add some that "
            f"{way} a class"
        )

    center, spread = scores.mean(), max(scores.std(), 1e-9)
    x = torch.from_numpy((scores - center) / spread)
    y = torch.from_numpy(positive.astype(np.float64))
    weight = torch.from_numpy(known.astype(np.float64))
    log_slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    deviations = torch.zeros(scores.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_slope, bias, deviations], max_iter=200, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = log_slope.exp() * x + bias + deviations
        value = F.binary_cross_entropy_with_logits(logits, y, weight, reduction="sum")
        # weak priors: they matter where the classes can be told apart without error
        value = value + (deviations**2).sum() / (2 * _PRIOR**2)
        value = value + (log_slope**2) / 8 + bias**2 / 200
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    slope = float(log_slope.detach().exp()) / float(spread)
    offsets = (bias + deviations).detach().numpy() - slope * center
    result = Calibration(
        source=source,
        slope=slope,
        offsets=tuple(map(float, offsets)),
        threshold=0.5,
        samples=len(scores),
        positives=tuple(map(int, positive.sum(0))),
        precision=0.0,
        recall=0.0,
        f1=0.0,
        spread=float(spread),
        cardinality=known_cardinality(np.where(known, np.where(positive, 1, -1), 0)),
    )
    probabilities = result.probabilities(scores)
    common = best_f1_threshold(probabilities[known], positive[known])
    result = replace(result, threshold=common)
    if per_class:
        limits = _own_thresholds(probabilities, positive, known, common=common)
        result = replace(result, thresholds=limits)
    quality = f1_scores(probabilities >= result.limits, positive, ignore=~known)
    return replace(result, precision=quality.op, recall=quality.or_, f1=quality.of1)


def _own_thresholds(
    probabilities: Array, positive: Array, known: Array, *, common: float
) -> tuple[float, ...]:
    """Each class's threshold of best F1; ``common`` where it has too few labels to say."""
    limits = []
    for p, is_there, is_known in zip(probabilities.T, positive.T, known.T, strict=True):
        enough = min(is_there.sum(), (is_known & ~is_there).sum()) >= _ENOUGH_LABELS
        limits.append(best_f1_threshold(p[is_known], is_there[is_known]) if enough else common)
    return tuple(limits)
