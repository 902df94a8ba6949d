"""What all multi-label trainers share: data, features, testing and what a test leaves on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.backbones import Backbone
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.datasets.base import ImageSplit, MultiLabelDataset
from tai_dpt.datasets.config import cache_folder
from tai_dpt.datasets.images import preprocessing_from_config
from tai_dpt.device import choose_device
from tai_dpt.errors import InputError
from tai_dpt.features import AnyFeatures, StorePlan, check_stores
from tai_dpt.io.output import check_room
from tai_dpt.scoring.methods import Learned
from tai_dpt.scoring.metrics import best_f1_threshold, check_finite
from tai_dpt.scoring.rectification import check_rectification, rectify_scores
from tai_dpt.scoring.scores import KINDS, Scores
from tai_dpt.toolbox import build_dataset
from tai_dpt.trainers.evaluator import MultiLabelEvaluator
from tai_dpt.trainers.features import (
    FeatureLoader,
    backbone_from_config,
    caption_plan,
    image_plan,
    readable_images,
    settle_precision,
)
from tai_dpt.trainers.heeded import trained_otherwise
from tai_dpt.trainers.option_ranges import check_options
from tai_dpt.trainers.output_folder import check_training
from tai_dpt.trainers.parallel_trainer import ParallelTrainer
from tai_dpt.trainers.run_record import write_results

Scorer = Callable[[AnyFeatures], Scores]


class MultiLabelTrainer(ParallelTrainer):
    """Base of the trainers. A subclass says how it scores features.

    Its ``default_options`` become the node ``TRAINER.<ITS NAME IN CAPITALS>`` of the config.
    """

    default_options: ClassVar[Mapping[str, Any]]
    position_embedding = False  # of a ResNet's attention pool
    needs_places = False  # whether it makes no sense where places in an image have no features
    starts_from_weights = False  # whether it heeds MODEL.INIT_WEIGHTS
    trains = True  # whether it learns in steps
    reads_captions = False
    reads_labels = False  # those of training images

    cfg: CfgNode
    dataset: MultiLabelDataset
    backbone: Backbone
    preprocessing: Preprocessing  # of all images
    evaluator: MultiLabelEvaluator
    listed: dict[str, ImageSplit]  # by split name
    images: dict[str, ImageSplit]  # those of them that can be read

    def __init__(
        self,
        cfg: CfgNode,
        *,
        dataset: MultiLabelDataset | None = None,
        device: torch.device | str = "auto",
    ) -> None:
        """
        Args:
            dataset: classes, captions and images, in place of those that ``cfg`` names.
            device: as for ``choose_device``; the CPU where ``cfg.USE_CUDA`` is off.
        """
        self._given_dataset, self._asked_device = dataset, device
        settle_precision(cfg, self._choose_device(cfg))
        super().__init__(cfg)
        if not isinstance(self.evaluator, MultiLabelEvaluator):
            raise InputError(
                f"TEST.EVALUATOR is '{cfg.TEST.EVALUATOR}', which rates one label an image; leave "
                "it out, or set MultiLabelEvaluator"
            )
        self.evaluator.ignore_unknown = self.dataset.ignores_unknown

    def report(self, line: str) -> None:
        """Say what takes long before training: which features are encoded, how far it is."""
        self.log(line)

    @property
    def options(self) -> CfgNode:
        """This trainer's node of the configuration."""
        return self.options_of(self.cfg)

    @staticmethod
    def options_key(cfg: CfgNode) -> str:
        """Where its options stand, as in ``TRAINER.TAIDPT``."""
        return f"TRAINER.{cfg.TRAINER.NAME.upper()}"

    @staticmethod
    def options_of(cfg: CfgNode) -> CfgNode:
        """The options of the trainer that ``cfg`` names."""
        return cfg.TRAINER[cfg.TRAINER.NAME.upper()]

    def check_cfg(self, cfg: CfgNode) -> None:
        """Refuse options that make no run, before anything is loaded; overrides call this first.

        Raises:
            InputError: says the option and what is valid.
        """
        super().check_cfg(cfg)
        check_options(cfg)
        if cfg.MODEL.INIT_WEIGHTS and not self.starts_from_weights:
            raise InputError(
                f"MODEL.INIT_WEIGHTS are those of prompts, and {cfg.TRAINER.NAME} learns none: "
                "leave it out"
            )

    def scorer(self) -> Scorer:
        """The function that scores features with the model as it is now."""
        raise NotImplementedError

    def learned(self) -> Learned | None:
        """What a tagger keeps of it, to score as ``scorer`` does; None where no tagger can."""
        return None

    def score_scale(self) -> float:
        """``κ``, by which its scores are larger than cosines."""
        return 1.0

    def softmax_sharpness(self) -> float | None:
        """What its scores are multiplied by for a softmax at the backbone's own logit scale."""
        return self.backbone.logit_scale / self.score_scale()

    def rectified_scorer(self) -> Scorer:
        """``scorer``, with the scores of each image rectified as ``TEST.RECTIFY`` says."""
        scorer, how = self.scorer(), self.cfg.TEST.RECTIFY
        check_rectification(how, classes=self.num_classes)
        sharpness = self.softmax_sharpness() or 1.0
        return lambda features: rectify_scores(scorer(features), how, sharpness=sharpness)

    def training_cardinality(self) -> float:
        """Mean number of labels of a training sample; NaN where nothing is trained on."""
        return float("nan")

    def extra_results(self) -> dict[str, Any]:
        """What ``results.json`` also says of a run of this trainer; plain values."""
        return {}

    def backbone_identity(self) -> dict[str, str]:
        """The backbone's name and the hash of its weights, for ``results.json``."""
        return {"name": self.backbone.name, "sha256": self.backbone.weights_hash}

    def preprocessing_facts(self) -> dict[str, Any] | None:
        """How images were prepared, for ``results.json``."""
        return self.preprocessing.as_dict()

    def build_train_loader(self) -> Any:
        """Batches for ``forward_backward``; None where nothing is trained."""
        return None

    # -- data ----------------------------------------------------------------------------------

    def load_dataset(self) -> MultiLabelDataset:
        """The data that were given, else those that ``DATASET`` names."""
        if self._given_dataset is not None:
            return self._given_dataset
        dataset = build_dataset(self.cfg)
        if not isinstance(dataset, MultiLabelDataset):
            raise InputError(
                f"dataset '{self.cfg.DATASET.NAME}' is not a multi-label dataset of this project"
            )
        return dataset

    def build_data_loader(self) -> None:
        """The toolbox's first step: device, data set, backbone, preprocessing, and the loaders of
        features (``train_loader_x`` from ``build_train_loader``, ``val_loader``, ``test_loader``).

        Raises:
            InputError: data or backbone cannot be had, or lack what the trainer needs.
        """
        self.device = self._choose_device(self.cfg)
        kept = cache_folder(self.cfg)
        if kept is not None and not kept.is_dir():  # one that is there may hold all, and be read
            check_room(kept, option="FEATURES.DIR")
        dataset = self.load_dataset()
        self.dataset = dataset
        self.backbone = backbone_from_config(self.cfg, self.device, self.options.PREC)
        dataset.tokenizer = self.backbone.tokenizer
        if self.needs_places:
            self.backbone.need_places(f"{self.cfg.TRAINER.NAME} needs")
        elif not self.backbone.image.has_places:
            print(
                f"{self.backbone.name} has no features of places in an image: local scores are "
                "those of its one feature"
            )
        self.preprocessing = preprocessing_from_config(self.cfg, self.backbone.preprocessing)
        self.backbone.check_size(*self.preprocessing.size)
        self.dm = None
        self.lab2cname = dataset.lab2cname
        self.num_classes = dataset.num_classes
        self.num_source_domains = 1
        self.train_loader_u = None
        self.train_loader_x = self.build_train_loader()
        self.listed = {"val": dataset.images("val"), "test": dataset.images("test")}
        self.images = {
            split: readable_images(self.cfg, split, images) for split, images in self.listed.items()
        }
        self.val_loader = self.image_loader(self.images["val"])
        self.test_loader = self.image_loader(
            self.images["test"], read_once=self.cfg.TEST.FINAL_MODEL != "best_test"
        )

    def _choose_device(self, cfg: CfgNode) -> torch.device:
        """The same on both toolboxes; stock Dassl's own choice knows CUDA and the CPU alone."""
        chosen = choose_device(self._asked_device if cfg.USE_CUDA else "cpu")
        # several processes talk by gloo where there is no CUDA, and it knows the CPU alone
        alone = distributed.world() == 1
        return chosen if alone or chosen.type == "cuda" else torch.device("cpu")

    @cached_property
    def captions(self) -> StorePlan:
        """The features of the corpus's captions."""
        texts = self.dataset.corpus.texts
        return caption_plan(self.cfg, self.backbone, texts, report=self.report)

    def image_loader(self, split: ImageSplit, *, read_once: bool = False) -> FeatureLoader | None:
        """Features of images in their order; None where there are none.

        Those that are ``read_once`` need not be kept, see ``FEATURES.CACHE``.
        """
        if not len(split):
            return None
        return FeatureLoader(
            lambda: image_plan(
                self.cfg,
                self.backbone,
                split,
                preprocessing=self.preprocessing,
                position_embedding=self.position_embedding,
                report=self.report,
                read_once=read_once,
            ),
            torch.from_numpy(split.labels),
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            device=self.device,
        )

    def before_train(self) -> None:
        """Refuse an output folder that holds another run, before any work.

        Raises:
            InputError: the output folder holds another run.
        """
        check_training(self.cfg)
        super().before_train()
        if 0 < self.start_epoch < self.max_epoch and (differ := self.trained_with()):
            self.earlier_options += ({"until_epoch": self.start_epoch, **differ},)

    def trained_with(self) -> dict[str, Any]:
        """Options of training in which the model that was loaded differs from this run's."""
        return trained_otherwise(self.model_state.config, self.cfg, self.cfg.TRAINER.NAME)

    def prepare_data(self) -> None:
        """Encode what is lacking of all that will be read, so that nothing stops the run later.

        Raises:
            InputError: an image cannot be read, features cannot be kept, or there is nothing to
                test on.
        """
        if not self.cfg.TEST.NO_TEST:
            self._loader_of(self.cfg.TEST.SPLIT)
        plans = self.kept_features()
        if self.start_epoch < self.max_epoch and isinstance(self.train_loader_x, FeatureLoader):
            plans += self.train_loader_x.plans
        self.check_room_for(plans)
        for plan in plans:
            plan.open()

    def kept_features(self) -> list[StorePlan]:
        """The stores that a test reads, where they are kept: an image or a disk that stops it
        stops the run before anything is trained."""
        if self.cfg.TEST.NO_TEST or self.cfg.FEATURES.CACHE == "off":
            return []
        loaders = (self.val_loader, self.test_loader)
        return [loader.plan for loader in loaders if isinstance(loader, FeatureLoader)]

    @staticmethod
    def check_room_for(plans: Sequence[StorePlan]) -> None:
        """Refuse, before anything is encoded, stores that do not fit on the disk together."""
        check_stores(plans)
        distributed.barrier()  # all ranks have looked before one writes

    def before_epoch(self) -> None:
        """Tell the loader the epoch: it decides the order of the samples."""
        super().before_epoch()
        if hasattr(self.train_loader_x, "epoch"):
            self.train_loader_x.epoch = self.epoch

    def step_generator(self, purpose: str, *, rank: int = 0) -> torch.Generator:
        """Randomness of this training step, by seed, epoch, batch, ``purpose`` and ``rank`` alone:
        a resumed run draws the same."""
        place = f"{max(self.cfg.SEED, 0)} {self.epoch} {self.batch_idx} {purpose} {rank}"
        digest = hashlib.sha256(place.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    # -- testing -------------------------------------------------------------------------------

    def parse_batch_test(self, batch: Mapping[str, Any]) -> tuple[AnyFeatures, Tensor]:
        """Features and labels (B, C) of a loader's batch, as the toolbox asks for them."""
        return batch["features"], batch["label"]

    def model_inference(self, features: AnyFeatures) -> Scores:
        """The scores (B, C) of a batch, with the model as it is now."""
        return self.rectified_scorer()(features)

    def model_record(self) -> dict[str, Any]:
        """What is evaluated, for ``results.json``: the epochs it was trained, and its file.

        ``epoch`` is None where nothing is learned or the file does not say, 0 where nothing was
        loaded; a file in the output folder is named relative to it.
        """
        if not self.get_model_names():
            return {"epoch": None, "checkpoint": None}
        epoch, path = self.model_state.epoch, self.model_state.checkpoint
        inside = path is not None and path.is_relative_to(self.output_dir)
        place = path.relative_to(self.output_dir) if path is not None and inside else path
        return {"epoch": epoch, "checkpoint": None if place is None else place.as_posix()}

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on ``split`` (default ``TEST.SPLIT``) and return the mAP in percent.

        Asked for without a split, as after training, it also writes ``scores.npz`` and
        ``results.json`` to the output folder.
        """
        final = split is None
        split = split or self.cfg.TEST.SPLIT
        loader = self._loader_of(split)
        self.set_model_mode("eval")
        scorer = self.rectified_scorer()
        self.evaluator.reset()
        self.log(f"Evaluate on the *{split}* set")
        if self.model_record()["epoch"] == 0:
            start = "those of MODEL.INIT_WEIGHTS" if self.cfg.MODEL.INIT_WEIGHTS else "untrained"
            self.log(f"Note: no checkpoint of this run was loaded; the prompts are {start}")
        self.evaluator.process(
            self._checked(score_all(scorer, loader), self.images[split]), loader.labels
        )
        threshold, source = self._decision_threshold(scorer, split)
        self.evaluator.threshold = threshold
        metrics = self.evaluator.evaluate()
        for name, value in metrics.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        if final:
            write_results(self, split, threshold_source=source)
        return metrics["mAP"]

    def _loader_of(self, split: str) -> Any:
        """The loader of what is evaluated; InputError where there is nothing."""
        loader = self.val_loader if split == "val" else self.test_loader
        if loader is not None:
            return loader
        shown = self.cfg.DATASET.EVAL_IMAGES == "any_positive"
        which = " that show a class (DATASET.EVAL_IMAGES any_positive)" if shown else ""
        data = f"dataset '{self.cfg.DATASET.NAME}'"
        way_out = "; with TEST.NO_TEST True it only trains" if self.trains else ""
        raise InputError(f"{data} has no {split} images to evaluate on{which}{way_out}")

    @torch.no_grad()
    def score_images(self, images: ImageSplit) -> NDArray[np.float32]:
        """The scores (n, C) that ``TEST.PREDICTION`` names, of any images."""
        loader = self.image_loader(images)
        if loader is None:
            return np.zeros((0, self.num_classes), np.float32)
        self.set_model_mode("eval")
        scorer, prediction = self.rectified_scorer(), self.cfg.TEST.PREDICTION
        return self._checked(score_all(scorer, loader), images).of(prediction).numpy()

    def _checked(self, scores: Scores, images: ImageSplit) -> Scores:
        """The scores of images; InputError where one is not finite, with the first image."""
        for part in (scores.global_, scores.local, scores.merged):
            check_finite(part.numpy(), ids=images.ids, class_names=self.dataset.classnames)
        return scores

    def _decision_threshold(self, scorer: Scorer, split: str) -> tuple[float, str]:
        """Where the F1 figures draw the line, never looking at the evaluated labels.

        With labelled validation images: the best OF1 there. Else: so high that an image gets as
        many labels on average as a training sample has.
        """
        prediction = self.cfg.TEST.PREDICTION
        if self.val_loader is not None and split != "val":
            scored = score_all(scorer, self.val_loader)
            scores = self._checked(scored, self.images["val"]).of(prediction)
            labels = self.val_loader.labels
            if self.evaluator.ignore_unknown:
                scores, labels = scores[labels != 0], labels[labels != 0]
            if (labels > 0).any():
                return best_f1_threshold(scores.numpy(), labels.numpy()), "validation labels"
        return cardinality_threshold(self.evaluator.scores(prediction), self.training_cardinality())


def score_all(scorer: Scorer, loader: FeatureLoader) -> Scores:
    """The scores of all samples of ``loader``, in their order, on the CPU and on every rank."""
    own = [(batch["index"], scorer(batch["features"])) for batch in loader]
    indices = torch.cat([index for index, _ in own])
    kinds = {kind: torch.cat([scores.of(kind) for _, scores in own]).cpu() for kind in KINDS}
    whole = {
        kind: torch.full((len(loader.labels), values.shape[1]), torch.nan)
        for kind, values in kinds.items()
    }
    for index, part in distributed.gather((indices, kinds)):
        for kind, values in part.items():  # a sample that two ranks scored has its one place
            whole[kind][index] = values
    return Scores(whole["global"], whole["local"], whole["merged"])


def cardinality_threshold(scores: NDArray[np.float32], cardinality: float) -> tuple[float, str]:
    """The threshold above which an image has ``cardinality`` labels on average; and its name."""
    if np.isnan(cardinality):
        return float("nan"), "none"
    quantile = 1 - min(cardinality / scores.shape[1], 1.0)
    return float(np.quantile(scores, quantile)), "label cardinality of the training samples"
