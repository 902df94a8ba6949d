"""A tagger: learned prompts, and the frozen CLIP they were learned for, put to use.

It predicts; ``tai_dpt.Tagger``, which adds fitting, is this class with a way to be made from
captions. Class embeddings are computed once, when prompts are learned, so tagging an image
costs one pass of the image encoder and two small matrix products.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tai_dpt.backbones import Backbone
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.backbones.read_ahead import read_ahead
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.features import Features
from tai_dpt.io.images import AnyImage, as_images, upright_size
from tai_dpt.io.opening import expanded
from tai_dpt.labels.spelling import Names
from tai_dpt.labels.vocabulary import ENGLISH, Vocabulary
from tai_dpt.scoring.calibration import Calibration
from tai_dpt.scoring.methods import Method, Patches, Prompts
from tai_dpt.scoring.metrics import check_finite, top_k
from tai_dpt.scoring.rectification import check_rectification, rectify_scores
from tai_dpt.scoring.scores import KINDS, Scores, Scoring, shifted_heat_map
from tai_dpt.tagger import folder as tagger_folder
from tai_dpt.tagger import hub as tagger_hub
from tai_dpt.tagger.batch import TaggedBatch

OUTPUTS = ("labels", "indicator")

_Self = TypeVar("_Self", bound="PromptTagger")


class PromptTagger:
    """Says which of its classes are in an image, and where.

    Follows scikit-learn where that fits: ``classes_``, ``predict``, ``predict_proba``; it has no
    ``fit``, as what it learns from are captions and not the images it predicts for.

    Attributes:
        classes_: the class names, in the order of all columns.
        calibration: what turns scores into probabilities; None where it was never calibrated.
        provenance: what else its folder says: recipe, captions per class; plain values.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        class_names: Sequence[str],
        embeddings: Mapping[str, Tensor],
        contexts: Mapping[str, Tensor],
        method: Method | None = None,
        scoring: Scoring | None = None,
        preprocessing: Preprocessing | None = None,
        calibration: Calibration | None = None,
        provenance: Mapping[str, Any] | None = None,
        backbone_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            embeddings: the class tensors that ``method`` takes, by name; without one,
                L2-normalised class embeddings (C, D) named ``global`` and ``local``.
            contexts: the learned context vectors by the same names, for the folder.
            method: how they score (``tai_dpt.scoring.methods``); as TaI-DPT does where left out.
            scoring: κ, β and how each image's scores are rectified; TaI-DPT's where left out.
            preprocessing: the backbone's own where left out.
            backbone_file: the file the backbone came from, where it is none of the published.
        """
        self.backbone = backbone
        self.classes_: NDArray[np.str_] = np.array(list(class_names), dtype=np.str_)
        self.method: Method = method or Prompts()
        sides = {"C": len(self.classes_), "D": backbone.embed_dim}
        for name, shape in self.method.shapes.items():
            wanted = tuple(sides[side] for side in shape)
            if tuple(embeddings[name].shape) != wanted:
                raise InputError(
                    f"the {name} class embeddings are {tuple(embeddings[name].shape)}, wanted "
                    f"{wanted}: they belong to other classes or to another backbone"
                )
        self.embeddings = {k: v.detach().float().to(backbone.device) for k, v in embeddings.items()}
        self.contexts = {k: v.detach().float().cpu() for k, v in contexts.items()}
        self.scoring = scoring or Scoring()
        how = self.scoring.rectify
        check_rectification(how, classes=len(self.classes_), option="rectify")
        self.preprocessing = preprocessing or backbone.preprocessing
        backbone.check_size(*self.preprocessing.size)
        self.calibration = calibration
        self.provenance = dict(provenance or {})
        self.backbone_file = backbone_file

    def __repr__(self) -> str:
        shown = first_few(self.classes_, 4)
        return f"Tagger({len(self.classes_)} classes: {shown}; {self.backbone.name})"

    @property
    def vocabulary(self) -> Vocabulary:
        """Its classes with the synonyms that it was fitted with."""
        return Vocabulary(
            tuple(self.classes_.tolist()),
            tuple(map(tuple, self.provenance.get("synonyms", ()))),
            language=self.provenance.get("language", ENGLISH),
        )

    # -- predicting ----------------------------------------------------------------------------

    def scores(
        self, images: Any, *, kind: str = "merged", batch_size: int = 64
    ) -> NDArray[np.float32]:
        """Class scores (n, C) of images; what they are worth is for ``predict_proba`` to say.

        Args:
            images: one image or many: paths, PIL images, arrays, tensors or a batch of those
                (see ``tai_dpt.io.images.as_image``).
            kind: "merged" (the prediction), "global" or "local".

        Raises:
            InputError: an image cannot be read.
        """
        if kind not in KINDS:
            raise unknown("kind of score", kind, KINDS)
        rows = [np.zeros((0, len(self.classes_)), np.float32)]
        for batch in self.stream(as_images(images), batch_size=batch_size):
            if batch.errors:
                raise InputError(next(iter(batch.errors.values())))
            rows.append(batch.scores.of(kind).numpy())
        return np.concatenate(rows)

    def predict_proba(self, images: Any, *, batch_size: int = 64) -> NDArray[np.float64]:
        """Probability (n, C) that a class is in an image, as ``calibration`` has it."""
        return self._calibrated().probabilities(self.scores(images, batch_size=batch_size))

    def predict(
        self,
        images: Any,
        *,
        threshold: float | None = None,
        top: int | None = None,
        output: str = "labels",
        batch_size: int = 64,
    ) -> list[list[str]] | NDArray[np.int8]:
        """The classes in each image.

        Args:
            threshold: the probability from which on a class is there; left out: what
                ``calibration`` found best (of each class), or none where ``top`` is given.
            top: at most so many classes an image, the best first.
            output: "labels" gives a list of class names for each image, the most probable
                first; "indicator" an array (n, C) of 0 and 1, as scikit-learn's metrics take it.
        """
        if output not in OUTPUTS:
            raise unknown("output", output, OUTPUTS)
        scores = self.scores(images, batch_size=batch_size)
        decided = self.decide(scores, threshold=threshold, top=top)
        if output == "indicator":
            return decided.astype(np.int8)
        order = np.argsort(-self.ranking(scores), axis=1, kind="stable")
        return [
            [str(self.classes_[c]) for c in columns if row[c]]
            for row, columns in zip(decided, order, strict=True)
        ]

    def ranking(self, scores: NDArray[Any]) -> NDArray[Any]:
        """What classes of one image are compared by (n, C): probabilities, else the scores."""
        return scores if self.calibration is None else self.calibration.probabilities(scores)

    def decide(
        self, scores: NDArray[Any], *, threshold: float | None = None, top: int | None = None
    ) -> NDArray[np.bool_]:
        """Which classes are there (n, C), by scores; arguments as for ``predict``."""
        if top is not None and top < 1:
            raise InputError(f"top is {top}; it must be at least 1")
        check_finite(scores, class_names=self.classes_.tolist())
        values = self.ranking(scores)
        decided = np.ones(values.shape, bool) if top is None else top_k(values, top)
        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(f"the threshold is {threshold}; it is a probability, 0 … 1")
        if threshold is not None or top is None:
            calibration = self._calibrated()
            limits = calibration.limits if threshold is None else threshold
            decided &= calibration.probabilities(scores) >= limits
        return decided

    def stream(
        self,
        images: Iterable[AnyImage],
        *,
        batch_size: int = 64,
        workers: int = 4,
        processes: bool = False,
    ) -> Iterator[TaggedBatch]:
        """Scores of any number of images, batch by batch, read ahead by ``workers`` threads.

        An unreadable image does not stop it: the batch says so.

        Args:
            processes: read ahead by processes instead; the images are a list of paths. Many cores
                keep a GPU busy with it; where the CPU encodes, threads are as fast.
        """
        sharpness = self.scoring.sharpness_image
        nothing = torch.zeros(0, len(self.classes_))
        batches = self.features(images, batch_size=batch_size, workers=workers, processes=processes)
        for indices, features, errors in batches:
            scores = Scores(nothing, nothing)
            if features is not None:
                scores = self.score_features(features, sharpness=sharpness)
            yield TaggedBatch(indices, scores, errors)

    def features(
        self,
        images: Iterable[AnyImage],
        *,
        batch_size: int = 64,
        workers: int = 4,
        processes: bool = False,
    ) -> Iterator[tuple[list[int], Features | None, dict[int, str]]]:
        """As ``stream``, before they are scored: (indices, features, errors) of each batch; no
        features where none of its images could be read."""
        indices: list[int] = []
        pixels: list[Tensor] = []
        errors: dict[int, str] = {}
        if processes:
            # here, as what begins quickly needs neither data sets nor torch's loaders
            from tai_dpt.datasets.images import Pixels, read_batches

            paths = list(images)
            places = torch.arange(len(paths)).split(batch_size)
            read = Pixels(self.preprocessing)
            batches = read_batches(paths, read, [place.tolist() for place in places], workers)
            items: Iterable[Tensor | str] = chain.from_iterable(batches)
        else:
            items = read_ahead(images, self._read, at_most=2 * batch_size, workers=workers)
        for index, item in enumerate(items):
            if isinstance(item, str):
                errors[index] = item
            else:
                indices.append(index)
                pixels.append(item)
            if len(indices) + len(errors) >= batch_size:
                yield indices, self._stacked(pixels), errors
                indices, pixels, errors = [], [], {}
        if indices or errors:
            yield indices, self._stacked(pixels), errors

    def _read(self, image: AnyImage) -> Tensor | str:
        try:
            return self.preprocessing(self.preprocessing.read(image))
        except InputError as error:
            return str(error)

    def _stacked(self, pixels: Sequence[Tensor]) -> Features | None:
        return self._features(torch.stack(list(pixels))) if pixels else None

    def _features(self, pixels: Tensor) -> Features:
        return self.backbone.encode_images(
            pixels, position_embedding=self.scoring.position_embedding
        )

    @torch.no_grad()
    def score_features(self, features: Features, *, sharpness: float) -> Scores:
        """Scores, rectified and on the CPU, of the features of images or captions."""
        scores = self.method.scores(
            features, self.embeddings, scoring=self.scoring, sharpness=sharpness
        )
        how = self.scoring.rectify
        if how != "none":
            scores = rectify_scores(scores, how, sharpness=self.softmax_sharpness)
        return Scores(*(scores.of(kind).cpu() for kind in ("global", "local", "merged")))

    @property
    def softmax_sharpness(self) -> float:
        """What scores are multiplied by for a softmax at the backbone's own logit scale."""
        return self.backbone.logit_scale / self.scoring.scale

    def caption_scores(
        self, captions: Sequence[str], *, kind: str = "merged"
    ) -> NDArray[np.float32]:
        """Class scores (n, C) of captions, as in training."""
        self.need_words_known()
        if kind not in KINDS:
            raise unknown("kind of score", kind, KINDS)
        tokens = self.backbone.tokenize(captions)
        rows = []
        for start in range(0, len(tokens), 512):
            features = self.backbone.encode_texts(tokens[start : start + 512])
            scores = self.score_features(features, sharpness=self.scoring.sharpness_text)
            rows.append(scores.of(kind).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, len(self.classes_)), np.float32)

    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise InputError(
                "this tagger was never calibrated, so it has scores but no probabilities: ask "
                "for the best few (top), or calibrate it ('tai-dpt calibrate')"
            )
        return self.calibration

    def need_words_known(self) -> None:
        """Raise InputError where captions say nothing to the method."""
        if isinstance(self.method, Patches):
            raise InputError(
                "this tagger was adapted to images (PIAA) and knows no words: for captions take "
                "the one it was adapted from, and calibrate it on images (--labelled)"
            )

    # -- explaining ----------------------------------------------------------------------------

    def need_heat_maps(self) -> None:
        """Raise InputError where ``heatmap`` would, whatever the image."""
        self.backbone.need_places("a heat map needs")

    def need_words(self) -> None:
        """Raise InputError where ``words`` would, whatever the caption."""
        self.backbone.need_words("to explain a caption needs")
        self.need_words_known()

    def class_indices(self, classes: str | Sequence[str] | None) -> list[int]:
        """Columns of class names; all of them for None.

        Raises:
            InputError: a class that the tagger does not know, with the nearest name.
        """
        if classes is None:
            return list(range(len(self.classes_)))
        column = Names((name, index) for index, name in enumerate(map(str, self.classes_)))
        wanted = [classes] if isinstance(classes, str) else list(classes)
        found = []
        for name in wanted:
            index = column.get(name)
            if index is None:
                raise unknown("class", name, map(str, self.classes_))
            found.append(index)
        return found

    @torch.no_grad()
    def heatmap(
        self,
        image: AnyImage,
        classes: str | Sequence[str] | None = None,
        *,
        shifts: int = 1,
        full_size: bool = False,
    ) -> NDArray[np.float32]:
        """Similarity of every place of an image to a class (the paper's figure 4).

        The image is seen uncut, at the scale it is tagged at; by a backbone that takes images of
        one size only, squeezed to it.

        Args:
            classes: one class name gives (h, w), several (k, h, w), None all classes.
            shifts: look again with the image moved by fractions of a cell, ``shifts`` each
                way; the map becomes as many times finer, in ``shifts``² passes.
            full_size: resized to the image's own height and width, not one value a cell.
        """
        columns = self.class_indices(classes)
        self.need_heat_maps()
        whole, cell = self.preprocessing.read(image), self.backbone.cell
        if self.backbone.image.any_size:
            pixels = self.preprocessing.uncut(whole, multiple=cell)
        else:
            pixels = replace(self.preprocessing, view="whole")(whole)
        pixels = pixels[None].to(self.backbone.device)

        def similarity(features: Features) -> Tensor:
            return self.method.places(features, self.embeddings, columns)

        fine = shifted_heat_map(self._features, pixels, similarity, cell=cell, shifts=shifts)
        if full_size:
            file = image if isinstance(image, str | os.PathLike) else None
            width, height = whole.size if file is None else upright_size(file)
            fine = F.interpolate(
                fine[None], size=(height, width), mode="bicubic", align_corners=False
            )[0]
        return (fine[0] if isinstance(classes, str) else fine).numpy()

    def words(
        self, caption: str, classes: str | Sequence[str] | None = None
    ) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
        """Similarity of every word of a caption to classes (the paper's figure 3).

        A word that CLIP cuts into several tokens counts with the most similar of them.

        Returns: the W words as CLIP reads them, their similarities (W, k), and the whole
            caption's (k,), which is the similarity at its end.
        """
        columns = self.class_indices(classes)
        self.need_words()
        (tokens,) = self.backbone.tokenize([caption])
        features = self.backbone.encode_texts([tokens])
        values = self.method.places(features, self.embeddings, columns)[0].cpu().numpy()  # (N, k)
        words, spans = self.backbone.words(tokens[1:-1])
        if not words:
            raise InputError("the caption is empty; write a sentence")
        per_word = np.stack([values[1 + a : 1 + b].max(0) for a, b in spans])
        return words, per_word, values[-1]

    # -- on disk -------------------------------------------------------------------------------

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        include_backbone: bool | None = None,
    ) -> None:
        """Write all one needs to use the tagger, or to share it, to ``folder``, whole or not.

        Args:
            overwrite: replace a tagger that is there.
            include_backbone: copy the backbone's weights into the folder; left out: unless it
                is a published one, which anybody can have by name.
        """
        parts = tagger_folder.TaggerParts(
            backbone=self.backbone,
            class_names=tuple(self.classes_.tolist()),
            embeddings=self.embeddings,
            contexts=self.contexts,
            method=self.method,
            scoring=self.scoring,
            preprocessing=self.preprocessing,
            calibration=self.calibration,
            provenance=self.provenance,
            backbone_file=self.backbone_file,
        )
        tagger_folder.save(parts, folder, overwrite=overwrite, include_backbone=include_backbone)

    @classmethod
    def load(
        cls: type[_Self],
        folder: str | os.PathLike[str],
        *,
        device: torch.device | str = "auto",
        backbone: Backbone | str | os.PathLike[str] | None = None,
    ) -> _Self:
        """Read a tagger's folder.

        Args:
            device: ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``gpu``, ``cuda``,
                ``cuda:N`` or ``mps``.
            backbone: where the weights are, for a folder that does not contain them and whose
                backbone is none of the published ones. Checked to be the right ones.

        Raises:
            InputError: no such device, no tagger there, a file missing or damaged, written by a
                newer version, or another backbone than the one the prompts were learned for.
        """
        parts = tagger_folder.load(folder, device=device, backbone=backbone)
        return cls(**{field.name: getattr(parts, field.name) for field in fields(parts)})

    # -- on a hub ------------------------------------------------------------------------------

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        message: str | None = None,
    ) -> str:
        """Share the tagger as ``user/name``, with its card; the repository is made if need be.

        What people wrote in a card that is there stays.

        A backbone that is none of the published goes along: its weights must be yours to share.
        One of a library that is named by a folder does not: who loads the tagger has to give it.

        Args:
            private: whether a new repository is; left out: as your organisation has it.
            token: left out: the one that ``hf auth login`` or ``HF_TOKEN`` gives.
            message: of the commit.

        Returns: the address of the commit.

        Raises:
            InputError: it cannot be done, with what the hub says.
        """
        with tempfile.TemporaryDirectory(prefix="tai-dpt-") as place:
            folder = Path(place, "tagger")
            self.save(folder)
            if tagger_folder.share_name(folder):
                warnings.warn(
                    f"{self.backbone.name} is on this machine and does not go along: who loads "
                    f"{name} must have it, too, and say where (from_pretrained(…, backbone=…))",
                    stacklevel=2,
                )
            return tagger_hub.push(folder, name, private=private, token=token, message=message)

    @classmethod
    def from_pretrained(
        cls: type[_Self],
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | None = None,
        device: torch.device | str = "auto",
        backbone: Backbone | str | os.PathLike[str] | None = None,
    ) -> _Self:
        """The tagger ``user/name`` of a hub, or one in a folder; only data is fetched, no code.

        Args:
            revision: a branch, tag or commit.
            device, backbone: as for ``load``.

        Raises:
            InputError: it cannot be had, or as ``load``.
        """
        folder = expanded(name)
        if not folder.is_dir():
            folder = tagger_hub.pull(os.fspath(name), revision=revision, token=token)
        return cls.load(folder, device=device, backbone=backbone)
