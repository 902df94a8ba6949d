"""A tagger adapted to the images it will see: PIAA's patch classifier, without any label.

The tagger's own class embeddings say what a patch shows; the surest patches of each class make a
classifier (``tai_dpt.scoring.patch_classifier``). Its probabilities follow what the tagger said of
the same images before.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from tai_dpt.errors import InputError, first_few
from tai_dpt.io.arrays import open_safetensors, read_safetensors
from tai_dpt.io.atomic import atomic_write
from tai_dpt.scoring.calibration import SOURCES, Calibration, calibrate
from tai_dpt.scoring.methods import Patches
from tai_dpt.scoring.patch_classifier import (
    PatchClassifier,
    SettingName,
    SurestPatches,
    patch_setting,
)
from tai_dpt.tagger.tagger import PromptTagger

_FEW_IMAGES = 50
_TO_CALIBRATE = 500
_SAVED_EVERY = 120.0  # seconds


@dataclass
class Looked:
    """How far the images are looked at, and what was found; kept in ``file`` when interrupted.

    Args:
        file: where it is kept on the way; nowhere where None.
        maker: what is looked at with what: only the same goes on.
    """

    surest: SurestPatches
    file: Path | None
    maker: str
    done: int = 0
    errors: dict[int, str] = field(default_factory=dict)
    images: int = 0  # that could be read
    _whole: tuple[dict[str, torch.Tensor], dict[str, str]] | None = None

    def resume(self) -> None:
        """Go on where an interrupted run stopped.

        Raises:
            InputError: the file is damaged, or of another tagger or other images.
        """
        if self.file is None or not self.file.exists():
            return
        tensors = read_safetensors(self.file, remedy="add --overwrite to start anew")
        with open_safetensors(self.file) as stream:
            about = stream.metadata() or {}
        if about.get("maker") != self.maker:
            raise InputError(
                f"{self.file} is of another tagger, other images, another --view or --batch-size: "
                "go on with the same, or add --overwrite to start anew"
            )
        self.done, self.images = int(about["done"]), int(about["images"])
        self.errors = {int(k): v for k, v in json.loads(about["errors"]).items()}
        self.surest.restore(tensors)

    def whole(self) -> None:
        """A batch is seen whole: this is what ``keep`` writes, whenever it is called."""
        about = {"maker": self.maker, "done": str(self.done), "images": str(self.images)}
        self._whole = self.surest.state(), {**about, "errors": json.dumps(self.errors)}

    def keep(self) -> None:
        """Write it down."""
        if self.file is None or self._whole is None:
            return
        tensors, metadata = self._whole
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.file) as stream:
            stream.write(save(tensors, metadata=metadata))


@dataclass(frozen=True)
class Adapted:
    """The new tagger, and what it was made from."""

    tagger: PromptTagger
    images: int  # that were looked at
    errors: list[str]  # of those that could not be read
    patches: tuple[int, ...]  # of each class, that were kept

    @property
    def without(self) -> list[str]:
        """Classes of which no patch was seen: their text embeddings stand for patches."""
        names = self.tagger.classes_.tolist()
        return [name for name, count in zip(names, self.patches, strict=True) if not count]


def adapt(
    tagger: PromptTagger,
    images: Sequence[str | os.PathLike[str]],
    *,
    setting: SettingName = "coco2014",
    unfinished: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    batch_size: int = 64,
    workers: int = 4,
) -> Adapted:
    """A tagger whose local scores are those of a patch classifier made from unlabelled images.

    Args:
        images: paths; what cannot be read is left out.
        setting: whose published constants: voc2007, coco2014 or nuswide.
        unfinished: a file in which what was seen is kept when it is interrupted, and from which it
            goes on.
        progress: takes images done, images in all.

    Raises:
        InputError: an unknown setting, fewer than two classes, no image that can be read.
    """
    constants = patch_setting(setting)
    tagger.backbone.need_places("to adapt to images needs")
    global_, local = tagger.method.text(tagger.embeddings)
    paths = [os.fspath(path) for path in images]
    facts = [tagger.backbone.weights_hash, tagger.preprocessing.identity, str(batch_size), *paths]
    digest = hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape"))
    digest.update(global_.cpu().numpy().tobytes() + local.cpu().numpy().tobytes())
    looked = Looked(SurestPatches(local), unfinished, digest.hexdigest())
    looked.resume()
    _look(tagger, images, looked, progress, batch_size, workers)
    if not looked.images:
        first = first_few(looked.errors.values(), 1)
        raise InputError(f"none of {len(images)} images can be read: {first}")
    if looked.images < _FEW_IMAGES:
        warnings.warn(
            f"{looked.images} {'image is' if looked.images == 1 else 'images are'} few to "
            "adapt to; hundreds of the kind that will be tagged are better",
            stacklevel=2,
        )
    classifier = PatchClassifier.of(looked.surest, setting=constants)
    counts = torch.bincount(looked.surest.kept()[1], minlength=len(local)).tolist()
    new = PromptTagger(
        backbone=tagger.backbone,
        class_names=tagger.classes_.tolist(),
        embeddings={
            **{"global": global_, "local": local},
            **{"weight": classifier.weight, "bias": classifier.bias},
        },
        contexts=tagger.contexts,
        method=Patches(setting=setting),
        # probabilities over the classes need no rectifying
        scoring=replace(tagger.scoring, scale=1.0, rectify="none"),
        preprocessing=tagger.preprocessing,
        provenance={
            **{k: v for k, v in tagger.provenance.items() if k != "calibration_on_captions"},
            "adapted": {"images": looked.images, "setting": setting, "patches": counts},
        },
        backbone_file=tagger.backbone_file,
    )
    readable = [path for index, path in enumerate(images) if index not in looked.errors]
    new.calibration = _calibration(tagger, new, readable, batch_size, workers)
    return Adapted(new, looked.images, list(looked.errors.values()), tuple(counts))


def _look(
    tagger: PromptTagger,
    images: Sequence[str | os.PathLike[str]],
    looked: Looked,
    progress: Callable[[int, int], None],
    batch_size: int,
    workers: int,
) -> None:
    """See the images that are left; what was seen is kept every two minutes, and on the way out."""
    start, kept_at = looked.done, time.monotonic()
    progress(start, len(images))
    batches = tagger.features(images[start:], batch_size=batch_size, workers=workers)
    try:
        for indices, features, errors in batches:
            if features is not None:
                looked.surest.add(features.local[features.mask])
            looked.done += len(indices) + len(errors)
            looked.images += len(indices)
            looked.errors |= {start + index: error for index, error in errors.items()}
            looked.whole()
            progress(looked.done, len(images))
            if time.monotonic() - kept_at > _SAVED_EVERY:
                looked.keep()
                kept_at = time.monotonic()
    except BaseException:
        with suppress(OSError):
            looked.keep()
        raise


def _calibration(
    before: PromptTagger,
    after: PromptTagger,
    images: Sequence[str | os.PathLike[str]],
    batch_size: int,
    workers: int,
) -> Calibration | None:
    """Probabilities that follow what the tagger said before, of some of the images."""
    if before.calibration is None:
        return None
    chosen = np.linspace(0, len(images) - 1, min(len(images), _TO_CALIBRATE)).round().astype(int)
    nothing = np.zeros((0, len(before.classes_)))
    said, scores = [nothing > 0], [nothing]
    paths = [images[i] for i in chosen]
    for _, features, _ in before.features(paths, batch_size=batch_size, workers=workers):
        if features is not None:
            sharpness = before.scoring.sharpness_image
            old = before.score_features(features, sharpness=sharpness).merged.numpy()
            said.append(before.decide(old))
            scores.append(after.score_features(features, sharpness=sharpness).merged.numpy())
    labels = np.concatenate(said)
    if not labels.any() or labels.all():
        warnings.warn(
            "the tagger found none or all of its classes in the images, so they say nothing of "
            "probabilities: calibrate the new one ('tai-dpt calibrate --labelled')",
            stacklevel=2,
        )
        return None
    return calibrate(np.concatenate(scores), labels.astype(np.int8), source=SOURCES[3])
