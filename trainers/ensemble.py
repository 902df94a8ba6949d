"""TaI-DPT and an image-learned method, fused (paper, section 3.4, table 2 and figure 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from yacs.config import CfgNode

from tai_dpt.datasets.base import ImageSplit
from tai_dpt.errors import InputError
from tai_dpt.scoring.fusion import check_weight, choose_weight
from tai_dpt.scoring.metrics import known_cardinality, percent
from tai_dpt.scoring.rectification import rectify
from tai_dpt.scoring.results import (
    RESULTS_FILE,
    load_results,
    option_differences,
    trained_options,
)
from tai_dpt.scoring.run_fusion import Component, align, fuse_components, fusion_summary
from tai_dpt.scoring.scores import Scores
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.config import default_config
from tai_dpt.trainers.config_files import merge_file, merge_pairs
from tai_dpt.trainers.features import readable_images
from tai_dpt.trainers.heeded import unheeded
from tai_dpt.trainers.image_trainer import labelled_images
from tai_dpt.trainers.multilabel import MultiLabelTrainer, cardinality_threshold
from tai_dpt.trainers.other_runs import OtherRun
from tai_dpt.trainers.run_record import write_results

ROLES = ("text", "image")
AUTO = "auto"
PARTIAL_WEIGHT = 0.9  # λ of the public code for partial labels

# settings that decide which training images and labels a run has seen
_SAME_IMAGES = tuple(
    f"DATASET.{name}"
    for name in (
        *("NAME", "COCO.TRAIN", "VOC2007.FOLDER", "NUSWIDE.", "IMAGE_LIST.IMAGES"),
        *("IMAGE_LIST.TRAIN", "IMAGE_LIST.ZERO", "HOLDOUT", "PARTIAL"),
    )
)


@TRAINER_REGISTRY.register()
class TaIDPTEnsemble(MultiLabelTrainer):
    """Evaluates a run that learned from captions, one that learned from images, and both fused.

    ``TEXT_RUN`` and ``IMAGE_RUN`` name folders of finished runs. Scores that are there of the
    split asked for are taken as they are; else the run's model is loaded and evaluated. In place
    of a run a yaml file may be named: what it describes is trained in ``OUTPUT_DIR``/text or
    /image first, with this run's data set and seed; a finished run there is left alone and an
    interrupted one goes on.

    ``WEIGHT`` ``auto`` chooses λ on the training images that ``DATASET.HOLDOUT`` keeps from
    training, by their known labels: never on validation or test labels.
    """

    default_options: ClassVar = {
        "TEXT_RUN": "",  # folder of a finished run that learned from captions
        "IMAGE_RUN": "",  # folder of a finished run that learned from images
        "TEXT_TRAINER": "TaIDPT",  # without TEXT_RUN: what to train in OUTPUT_DIR/text, by
        "TEXT_CONFIG": "",  # this yaml file
        "TEXT_OPTS": (),  # and KEY, VALUE, KEY, VALUE, …
        "IMAGE_TRAINER": "DualCoOp",  # the same, in OUTPUT_DIR/image
        "IMAGE_CONFIG": "",
        "IMAGE_OPTS": (),
        # λ, the image-learned share: a number; "auto", chosen on the training images that
        # DATASET.HOLDOUT keeps from training; None is 0.9, the public code's for partial labels
        "WEIGHT": None,
        "NORMALISE": "minmax",  # minmax (the paper's), zscore or rank
        # each image's scores of a run by each other, first: none, centre, standardise or softmax
        "TEXT_RECTIFY": "none",
        "IMAGE_RECTIFY": "none",
    }

    starts_from_weights = reads_captions = reads_labels = True  # the runs that it makes do

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        options = cfg.TRAINER.TAIDPTENSEMBLE
        if not cfg.OUTPUT_DIR:
            raise InputError("TaIDPTEnsemble needs OUTPUT_DIR, for the runs it makes")
        if cfg.TEST.RECTIFY != "none":
            raise InputError(
                "fused scores are not rectified, the runs' are: leave TEST.RECTIFY at none and set "
                "TRAINER.TAIDPTENSEMBLE.TEXT_RECTIFY or IMAGE_RECTIFY"
            )
        for role in ROLES:
            run, config = options[f"{role.upper()}_RUN"], options[f"{role.upper()}_CONFIG"]
            if bool(run) == bool(config):
                name = f"TRAINER.TAIDPTENSEMBLE.{role.upper()}"
                raise InputError(
                    f"set {name}_RUN (a finished run's folder) or {name}_CONFIG (a yaml file to "
                    f"train first), {'not both' if run else 'one of them'}"
                )
            trainer = options[f"{role.upper()}_TRAINER"]
            own = map(str, options[f"{role.upper()}_OPTS"][::2] if config else ())
            for whom, keys in unheeded(own, [trainer]).items():
                raise InputError(
                    f"TRAINER.TAIDPTENSEMBLE.{role.upper()}_OPTS: {keys[0]} is for {whom}, and "
                    f"{trainer} is to be trained: leave it out"
                )
        if options.WEIGHT != AUTO:
            check_weight(_number(options.WEIGHT))
        elif not cfg.DATASET.HOLDOUT:
            raise InputError(
                "WEIGHT auto chooses λ on training images kept from training, and "
                "DATASET.HOLDOUT is 0: set it (0.1), or give WEIGHT a number"
            )

    def build_data_loader(self) -> None:
        dataset = self.load_dataset()
        self.dataset = dataset
        self.dm = None
        self.lab2cname = dataset.lab2cname
        self.num_classes = dataset.num_classes
        self.num_source_domains = 1
        self.train_loader_x = self.train_loader_u = None
        # no features: whether there are images is all that is asked of these here
        self.val_loader: Any = dataset.images("val") or None
        self.test_loader: Any = dataset.images("test") or None
        self._runs = {
            role: OtherRun(
                role, Path(self.options[f"{role.upper()}_RUN"] or Path(self.output_dir) / role)
            )
            for role in ROLES
        }

    def build_model(self) -> None:
        """There is none of its own."""

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Take what this trainer trained in another output folder."""
        for role, run in self._runs.items():
            if directory and not self.options[f"{role.upper()}_RUN"]:
                run.folder = Path(directory) / role
            run.epoch = epoch

    def train(self) -> None:
        """Train what a yaml file was named for, then test."""
        for role in ROLES:
            if self.options[f"{role.upper()}_CONFIG"]:
                self._runs[role].train(self._config_to_train(role))
        if not self.cfg.TEST.NO_TEST:
            self.test()

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate the fusion, print both components' mAP too, and return the fusion's mAP."""
        split = split or self.cfg.TEST.SPLIT
        text, image = (
            run.evaluated(
                self.cfg, split=split, output=Path(self.output_dir) / f"{role}-{split}"
            ).rectified(self.options[f"{role.upper()}_RECTIFY"])
            for role, run in self._runs.items()
        )
        align(text, image)  # before anything that takes long
        self._check_images(text, split)
        weight, source = self._weight()
        how = self.options.NORMALISE
        fused = fuse_components(text, image, weight=weight, normalisation=how)
        self._fusion = fusion_summary(text, image, weight=weight, normalisation=how, source=source)
        print(f"Evaluate on the *{split}* set: (1 - λ) text + λ image, λ = {weight:g} ({source})")
        for role, component in zip(ROLES, (text, image), strict=True):
            print(
                f"* {role} mAP: {percent(component.mAP)} ({component.prediction}, {component.name})"
            )
        self.evaluator.reset()
        global_, local, merged = map(torch.from_numpy, (fused.global_, fused.local, fused.merged))
        self.evaluator.process(Scores(global_, local, merged), torch.from_numpy(fused.labels))
        threshold, threshold_source = cardinality_threshold(
            self.evaluator.scores(self.cfg.TEST.PREDICTION), self.training_cardinality()
        )
        self.evaluator.threshold = threshold
        metrics = self.evaluator.evaluate()
        write_results(self, split, threshold_source=threshold_source)
        return metrics["mAP"]

    def training_cardinality(self) -> float:
        return known_cardinality(labelled_images(self.cfg, self.dataset).labels)

    def extra_results(self) -> dict[str, Any]:
        return {"fusion": self._fusion}

    def preprocessing_facts(self) -> None:
        """No image is looked at: the results of the two runs say how theirs were prepared."""

    def softmax_sharpness(self) -> float | None:
        return None  # fused scores have no logit scale

    def backbone_identity(self) -> dict[str, str]:
        parts = [self._fusion[role]["backbone"] or {} for role in ROLES]
        return {
            key: " + ".join(part.get(key, "unknown") for part in parts)
            for key in ("name", "sha256")
        }

    # -- the components --------------------------------------------------------------------------

    def _config_to_train(self, role: str) -> CfgNode:
        """This run's settings, then the component's yaml file and options."""
        options, prefix = self.options, role.upper()
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.TRAINER.TAIDPTENSEMBLE = default_config().TRAINER.TAIDPTENSEMBLE
        merge_file(cfg, options[f"{prefix}_CONFIG"])
        merge_pairs(cfg, options[f"{prefix}_OPTS"])
        cfg.TRAINER.NAME = options[f"{prefix}_TRAINER"]
        cfg.OUTPUT_DIR = str(self._runs[role].folder)
        cfg.RESUME = ""
        cfg.TEST.NO_TEST = False
        cfg.freeze()
        return cfg

    def _check_images(self, text: Component, split: str) -> None:
        """Images, classes and labels must be this data set's; keep the images for the results."""
        listed = self.dataset.images(split)
        position = {image_id: row for row, image_id in enumerate(listed.ids)}
        foreign = [i for i in text.table.ids if i not in position]
        if foreign or text.table.class_names != tuple(self.dataset.classnames):
            what = f"image '{foreign[0]}'" if foreign else "its classes"
            raise InputError(
                f"{text.name}: {what} is not of dataset '{self.cfg.DATASET.NAME}', {split} split: "
                "give the runs' own dataset config"
            )
        rows = [position[i] for i in text.table.ids]
        differ = np.argwhere(listed.labels[rows] != text.table.labels)
        if len(differ):
            row, column = map(int, differ[0])
            raise InputError(
                f"{len(differ):,} labels of dataset '{self.cfg.DATASET.NAME}', {split} split, are "
                f"not those that {text.name} was evaluated with, first that of "
                f"'{text.table.class_names[column]}' in image '{text.table.ids[row]}': evaluate "
                "both runs again (--eval-only) on the data set as it is now"
            )
        self.listed = {split: listed}
        self.images = {split: listed.subset(rows)}

    # -- λ ---------------------------------------------------------------------------------------

    def _weight(self) -> tuple[float, str]:
        """``λ``, and where it comes from."""
        if self.options.WEIGHT != AUTO:
            return _number(self.options.WEIGHT), "config"
        self._check_held_out()
        images = labelled_images(self.cfg, self.dataset, held_out_part=True)
        images = readable_images(self.cfg, "train", images)
        text, image = (self._score_held_out(role, images) for role in ROLES)
        chosen = choose_weight(text, image, images.labels, normalisation=self.options.NORMALISE)
        return chosen, f"known labels of {len(images):,} held-out training images"

    def _score_held_out(self, role: str, images: ImageSplit) -> NDArray[np.float32]:
        """A component's prediction (n, C) of held-out images, rectified as it is when fused."""
        output = Path(self.output_dir) / f"{role}-held-out"
        trainer = self._runs[role].trainer(self.cfg, split=self.cfg.TEST.SPLIT, output=output)
        order = [list(trainer.dataset.classnames).index(n) for n in self.dataset.classnames]
        scores = torch.from_numpy(trainer.score_images(images)[:, order])
        rule, sharpness = self.options[f"{role.upper()}_RECTIFY"], trainer.softmax_sharpness()
        return rectify(scores, rule, sharpness=sharpness or 1.0).numpy()

    def _check_held_out(self) -> None:
        """The image-learned run must not have seen what λ is to be chosen on."""
        folder = self._runs["image"].folder
        theirs = trained_options(load_results(folder / RESULTS_FILE))
        differ = option_differences(theirs, self.cfg, trainer=self.cfg.TRAINER.NAME)
        differ = [line for line in differ if line.startswith(_SAME_IMAGES)]
        if differ:
            raise InputError(
                f"WEIGHT auto: {folder} was trained with other labels "
                f"({'; '.join(differ)}), so nothing is known to be held out from it: train it with "
                "the same DATASET.HOLDOUT and DATASET.PARTIAL, or give WEIGHT a number"
            )


def _number(weight: float | str | None) -> float:
    if weight is None:
        return PARTIAL_WEIGHT
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise InputError(f"WEIGHT is '{weight}'; a number in [0, 1], or {AUTO}") from None
