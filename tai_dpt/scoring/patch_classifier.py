"""PIAA: a classifier of patches in closed form, from unlabelled images (ICML 2026).

Zero-shot CLIP labels the patches of some images; the surest of each class give the class means
and one covariance, which make a linear classifier; what it is sure of gives better ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tai_dpt.errors import InputError, unknown
from tai_dpt.features import AnyFeatures, PackedFeatures
from tai_dpt.scoring.scores import Scores

# published constants without a rule for choosing among them
_FIRST_SHARPNESS = 60.0
_KEPT_PER_CLASS = 512
PATCH_TEMPERATURE = 500.0
_LOCAL_WEIGHT = 0.9
_LEAST_SPREAD = 1e-12  # below it is rounding


@dataclass(frozen=True)
class PatchSetting:
    """The constants that the paper gives for one benchmark.

    Args:
        refine_sharpness: ``τ`` of the second look at the kept patches.
        local_sharpness: ``λ`` of the softmax over the classes of the best patches.
        global_sharpness: ``κ'`` of the softmax over the classes of the whole image.
    """

    refine_sharpness: float
    local_sharpness: float
    global_sharpness: float


SettingName = Literal["voc2007", "coco2014", "nuswide"]
SETTINGS: dict[SettingName, PatchSetting] = {
    "voc2007": PatchSetting(100.0, 200.0, 80.0),
    "coco2014": PatchSetting(0.01, 400.0, 80.0),
    "nuswide": PatchSetting(500.0, 400.0, 10.0),
}


def patch_setting(name: SettingName) -> PatchSetting:
    """The published setting called ``name``. Raises InputError for another name.

    >>> patch_setting("coco2014").local_sharpness
    400.0
    """
    if name not in SETTINGS:
        raise unknown("setting of the patch classifier", name, SETTINGS)
    return SETTINGS[name]


class SurestPatches:
    """Of a stream of patches, the 512 of least entropy for each class; bounded memory."""

    def __init__(self, class_embeddings: Tensor, *, per_class: int = _KEPT_PER_CLASS) -> None:
        """
        Args:
            class_embeddings: ``t`` (C, D), L2-normalised.

        Raises:
            InputError: there is one class alone, and every patch is as sure to show it.
        """
        if len(class_embeddings) < 2:
            raise InputError(
                "a patch classifier tells classes apart, and there is one: name at least two"
            )
        self.embeddings = class_embeddings.cpu().float()
        self._per_class = per_class
        self._features = torch.zeros(0, self.embeddings.shape[1])
        self._classes = torch.zeros(0, dtype=torch.int64)
        self._entropies = torch.zeros(0)
        self._confidences = torch.zeros(0)

    def add(self, patches: Tensor) -> None:
        """Look at patches (P, D), L2-normalised."""
        patches = patches.cpu().float()
        log_p = (_FIRST_SHARPNESS * (patches @ self.embeddings.T)).log_softmax(dim=1)
        entropies = -(log_p.exp() * log_p).sum(dim=1)
        self._features = torch.cat([self._features, patches])
        confidence, classes = log_p.exp().max(dim=1)
        self._classes = torch.cat([self._classes, classes])
        self._confidences = torch.cat([self._confidences, confidence])
        self._entropies = torch.cat([self._entropies, entropies])
        # by class, then entropy; equal entropies in the order they came
        order = torch.argsort(self._entropies, stable=True)
        order = order[torch.argsort(self._classes[order], stable=True)]
        counts = torch.bincount(self._classes, minlength=len(self.embeddings))
        firsts = counts.cumsum(0) - counts
        place = torch.arange(len(order)) - firsts[self._classes[order]]
        kept = order[place < self._per_class].sort().values
        self._features = self._features[kept]
        self._classes, self._entropies = self._classes[kept], self._entropies[kept]
        self._confidences = self._confidences[kept]

    def state(self) -> dict[str, Tensor]:
        """What is kept so far, for ``restore``."""
        features, classes, confidences = self.kept()
        return {
            **{"features": features, "classes": classes, "confidences": confidences},
            "entropies": self._entropies,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` gave."""
        self._features, self._classes = state["features"], state["classes"]
        self._confidences, self._entropies = state["confidences"], state["entropies"]

    def kept(self) -> tuple[Tensor, Tensor, Tensor]:
        """The kept patches (K, D), their classes (K,) and how sure those are (K,)."""
        return self._features, self._classes, self._confidences


@dataclass(frozen=True)
class PatchClassifier:
    """``W F + b``: discriminant analysis with one covariance for all classes."""

    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)

    @classmethod
    def fit(
        cls, class_embeddings: Tensor, pool: Iterable[Tensor], *, setting: PatchSetting
    ) -> PatchClassifier:
        """Learn from the patches (P, D) of unlabelled images.

        Args:
            class_embeddings: ``t`` (C, D) of the classes' templates, L2-normalised.
        """
        surest = SurestPatches(class_embeddings)
        for patches in pool:
            surest.add(patches)
        return cls.of(surest, setting=setting)

    @classmethod
    def of(cls, surest: SurestPatches, *, setting: PatchSetting) -> PatchClassifier:
        """Learn from the patches that were kept, then again from those it is sure of.

        Where those are one of each class, they say nothing of how patches differ, and what was
        learned first stays.

        Raises:
            InputError: the kept ones are no more than that.
        """
        features, classes, weights = surest.kept()
        embeddings = surest.embeddings
        first = _estimate(features, classes, weights, embeddings)
        if first is None:
            raise InputError(
                "no two patches of the images differ and show the same class, so there is no "
                "telling patches apart: give more images"
            )
        logits = setting.refine_sharpness * first.logits(features)
        confidence, again = logits.softmax(dim=1).max(dim=1)
        sure = _above_own_class(confidence, again, len(embeddings))
        return _estimate(features[sure], again[sure], confidence[sure], embeddings) or first

    def logits(self, features: Tensor) -> Tensor:
        """(…, C) from patches (…, D)."""
        return features @ self.weight.T + self.bias

    def scores(
        self,
        features: AnyFeatures,
        class_embeddings: Tensor,
        *,
        setting: PatchSetting,
        global_scores: Tensor | None = None,
    ) -> Scores:
        """Probabilities over the classes, of the best patches and of the whole image.

        ``m_c = max_j softmax_c((W F_j + b) / 500)``; local = ``softmax_c(λ m)``, global =
        ``softmax_c(κ' g·t)``, merged = 0.9 local + 0.1 global.

        Args:
            global_scores: ``g·t`` (B, C), where it comes from another model.
        """
        padded = features.padded() if isinstance(features, PackedFeatures) else features
        probability = (self.logits(padded.local) / PATCH_TEMPERATURE).softmax(dim=2)
        best = probability.masked_fill(~padded.mask[..., None], -math.inf).amax(dim=1)
        local = (setting.local_sharpness * best).softmax(dim=1)
        if global_scores is None:
            global_scores = padded.global_ @ class_embeddings.T
        global_ = (setting.global_sharpness * global_scores).softmax(dim=1)
        return Scores(global_, local, _LOCAL_WEIGHT * local + (1 - _LOCAL_WEIGHT) * global_)


def _above_own_class(confidence: Tensor, classes: Tensor, count: int) -> Tensor:
    """Which patches are a deviation or more above their class's mean confidence.

    A sharp softmax is sure of nearly all of them, and a deviation above the mean would be above 1:
    the surest of a class are kept in any case.
    """
    sure = torch.zeros(len(classes), dtype=torch.bool)
    for index in range(count):
        own = classes == index
        values = confidence[own]
        if len(values):
            least = values.mean() + values.std(correction=0)
            sure[own] = values >= torch.minimum(least, values.max())
    return sure


def _estimate(
    features: Tensor, classes: Tensor, weights: Tensor, fallback: Tensor
) -> PatchClassifier | None:
    """The classifier of patches (K, D), their classes and weights.

    ``μ_c`` is the weighted mean, ``t_c`` where class c has no patch; ``Σ`` the covariance of what
    is left; ``Σ⁻¹ ≈ D · pinv((n − 1) Σ + tr(Σ) I)``; ``W_c = Σ⁻¹ μ_c``,
    ``b_c = −log C − ½ μ_cᵀ Σ⁻¹ μ_c``. None where the patches are the means: ``Σ`` is zero.
    """
    count, width = fallback.shape
    x, w = features.double(), weights.double()
    sums = torch.zeros(count, width, dtype=torch.float64).index_add_(0, classes, w[:, None] * x)
    mass = torch.zeros(count, dtype=torch.float64).index_add_(0, classes, w)
    means = torch.where(mass[:, None] > 0, sums / mass.clamp(min=1e-12)[:, None], fallback.double())
    centred = x - means[classes]
    scatter = centred.T @ centred  # (n − 1) Σ
    if scatter.trace() < _LEAST_SPREAD:
        return None
    trace = scatter.trace() / max(len(x) - 1, 1)
    inverse = width * torch.linalg.pinv(
        scatter + trace * torch.eye(width, dtype=torch.float64), hermitian=True
    )
    weight = means @ inverse
    bias = -math.log(count) - (weight * means).sum(dim=1) / 2
    return PatchClassifier(weight.float(), bias.float())
