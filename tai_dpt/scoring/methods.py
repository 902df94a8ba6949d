"""The methods by which a tagger scores: the class tensors each keeps, and what it makes of them.

What is left of a trainer once it has learned. The scores are those of the functions that the
trainers call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tai_dpt.features import AnyFeatures, Features
from tai_dpt.io.reading import Fraction
from tai_dpt.scoring.linear_head import linear_head_scores, towards_text
from tai_dpt.scoring.patch_classifier import (
    PATCH_TEMPERATURE,
    PatchClassifier,
    SettingName,
    patch_setting,
)
from tai_dpt.scoring.scores import Scale, Scores, Scoring, score

#: class tensors by name, the classes first
Tensors = Mapping[str, Tensor]
_MATRIX = ("C", "D")
_Shapes: TypeAlias = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Prompts:
    """Class embeddings for the whole and for the parts: learned prompts, or captions' concepts."""

    shapes: ClassVar[_Shapes] = {"global": _MATRIX, "local": _MATRIX}
    place_value: ClassVar[str] = "similarity"  # what ``places`` gives, in words
    name: Literal["tai-dpt", "concepts"] = "tai-dpt"

    def scores(
        self, features: AnyFeatures, kept: Tensors, *, scoring: Scoring, sharpness: float
    ) -> Scores:
        """Scores (B, C) of captions or images.

        Args:
            kept: tensors by the names of ``shapes``.
            sharpness: ``β``.
        """
        return score(
            features, kept["global"], kept["local"], scale=scoring.scale, sharpness=sharpness
        )

    def places(self, features: Features, kept: Tensors, columns: list[int]) -> Tensor:
        """What the local scores are made of: each part's value for some classes (B, N, k)."""
        return features.local @ kept["local"][columns].T

    def text(self, kept: Tensors) -> tuple[Tensor, Tensor]:
        """Class embeddings (C, D) for the whole and for the parts, L2-normalised."""
        return kept["global"], kept["local"]


@dataclass(frozen=True)
class Mix:
    """TaI-DPT's scores and those of the captions' concepts, added."""

    shapes: ClassVar[_Shapes] = {**Prompts.shapes, "concepts": _MATRIX}
    place_value: ClassVar[str] = Prompts.place_value
    name: Literal["mix"] = "mix"

    def scores(
        self, features: AnyFeatures, kept: Tensors, *, scoring: Scoring, sharpness: float
    ) -> Scores:
        """As ``Prompts.scores``."""
        concepts, constants = kept["concepts"], {"scale": scoring.scale, "sharpness": sharpness}
        ours = score(features, kept["global"], kept["local"], **constants)
        theirs = score(features, concepts, concepts, **constants)
        return Scores(ours.global_ + theirs.global_, ours.local + theirs.local)

    def places(self, features: Features, kept: Tensors, columns: list[int]) -> Tensor:
        """As ``Prompts.places``: the mean of both similarities."""
        return features.local @ ((kept["local"] + kept["concepts"])[columns].T / 2)

    def text(self, kept: Tensors) -> tuple[Tensor, Tensor]:
        """As ``Prompts.text``: between prompts and concepts."""
        global_, local = (kept[name] + kept["concepts"] for name in ("global", "local"))
        return F.normalize(global_, dim=1), F.normalize(local, dim=1)


@dataclass(frozen=True)
class Head:
    """CoMC: a linear head over features that are moved towards the texts they resemble."""

    shapes: ClassVar[_Shapes] = {"head": _MATRIX, "templates": _MATRIX}
    place_value: ClassVar[str] = "logit"
    name: Literal["comc"] = "comc"
    towards_text: Fraction = 0.3
    text_scale: Scale = 100.0

    def scores(
        self, features: AnyFeatures, kept: Tensors, *, scoring: Scoring, sharpness: float
    ) -> Scores:
        """As ``Prompts.scores``; its scores have neither scale nor sharpness."""
        how = {"weight": self.towards_text, "scale": self.text_scale}
        return linear_head_scores(features, kept["head"], kept["templates"], **how)

    def places(self, features: Features, kept: Tensors, columns: list[int]) -> Tensor:
        """As ``Prompts.places``: each part's own score."""
        how = {"weight": self.towards_text, "scale": self.text_scale}
        return towards_text(features.local, kept["templates"], **how) @ kept["head"][columns].T

    def text(self, kept: Tensors) -> tuple[Tensor, Tensor]:
        """As ``Prompts.text``: the templates'; a head is no embedding."""
        return kept["templates"], kept["templates"]


@dataclass(frozen=True)
class Patches:
    """PIAA: a patch classifier, and the class embeddings that it was made with."""

    shapes: ClassVar[_Shapes] = {**Prompts.shapes, "weight": _MATRIX, "bias": ("C",)}
    place_value: ClassVar[str] = "log-probability"
    name: Literal["piaa"] = "piaa"
    setting: SettingName = "coco2014"

    def scores(
        self, features: AnyFeatures, kept: Tensors, *, scoring: Scoring, sharpness: float
    ) -> Scores:
        """As ``Prompts.scores``; its scores are probabilities over the classes."""
        classifier = PatchClassifier(kept["weight"], kept["bias"])
        return classifier.scores(features, kept["global"], setting=patch_setting(self.setting))

    def places(self, features: Features, kept: Tensors, columns: list[int]) -> Tensor:
        """As ``Prompts.places``: the logarithm of each patch's probability."""
        logits = PatchClassifier(kept["weight"], kept["bias"]).logits(features.local)
        return (logits / PATCH_TEMPERATURE).log_softmax(dim=2)[..., columns]

    def text(self, kept: Tensors) -> tuple[Tensor, Tensor]:
        """As ``Prompts.text``: those that it was made with."""
        return kept["global"], kept["local"]


Method: TypeAlias = Annotated[Prompts | Mix | Head | Patches, Field(discriminator="name")]


@dataclass(frozen=True)
class Learned:
    """What a tagger keeps of a trainer to score images as it does."""

    method: Method
    tensors: Tensors
    scoring: Scoring

    def scores(self, features: AnyFeatures) -> Scores:
        """Scores (B, C) of images."""
        scoring = self.scoring
        return self.method.scores(
            features, self.tensors, scoring=scoring, sharpness=scoring.sharpness_image
        )
