"""From class names and captions to a tagger: a trainer's run without a benchmark around it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TextIO

import numpy as np
import torch
from yacs.config import CfgNode

from tai_dpt.backbones import has_name
from tai_dpt.backbones.precision import AUTO
from tai_dpt.datasets.captions_only import PlainCaptions
from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.datasets.corpora.readers import caption_files
from tai_dpt.device import choose_device
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.opening import expanded
from tai_dpt.io.shipped import backbone_file, shipped_data
from tai_dpt.labels.class_lists import vocabulary_file
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.scoring.calibration import calibrate_on_captions
from tai_dpt.scoring.rectification import check_rectification
from tai_dpt.scoring.scores import Rectification
from tai_dpt.tagger.tagger import PromptTagger
from tai_dpt.toolbox import TRAINER_REGISTRY, get_cfg_default, open_log
from tai_dpt.trainers.comc import CoMC
from tai_dpt.trainers.concepts import Concepts
from tai_dpt.trainers.config import extend_cfg
from tai_dpt.trainers.config_files import merge_file, merge_pairs, read_file
from tai_dpt.trainers.features import backbone_from_config
from tai_dpt.trainers.heeded import owner, unheeded
from tai_dpt.trainers.multilabel import MultiLabelTrainer
from tai_dpt.trainers.option_ranges import check_options
from tai_dpt.trainers.run_record import plain_config
from tai_dpt.trainers.tai_dpt import TaIDPT

PathLike = str | os.PathLike[str]

# The published recipe is 4,600 steps at 1e-4; a short run needs larger ones. Both figures
# are those of the small world's config, where 240 steps do.
STEPS = 400
HEAD_STEPS = 2000
_RECIPE: dict[str, Any] = {
    "DATALOADER.TRAIN_X.BATCH_SIZE": 256,
    "OPTIM.NAME": "sgd",
    "OPTIM.LR": 0.002,
    "OPTIM.MOMENTUM": 0.9,
    "OPTIM.WEIGHT_DECAY": 5e-4,
    "OPTIM.LR_SCHEDULER": "cosine",
    "OPTIM.WARMUP_EPOCH": 1,
    "OPTIM.WARMUP_TYPE": "constant",
    "OPTIM.WARMUP_CONS_LR": 1e-5,
    "TEST.NO_TEST": True,
    "TRAIN.CHECKPOINT_FREQ": 0,
    "VERBOSE": False,
}
# of the linear head, as published; its steps are a thousandth of the work, so it takes more
_HEAD_RECIPE: dict[str, Any] = {
    "DATALOADER.TRAIN_X.BATCH_SIZE": 512,
    "OPTIM.NAME": "adam",
    "OPTIM.LR": 0.001,
    "OPTIM.WEIGHT_DECAY": 0.0,
}
# how the trainer's epochs are chosen where nobody chose them
_AUTO_EPOCHS = 0
_USUAL_BACKBONE = "RN50"
# options of the configuration that fit itself sets, and by what
_SET = {
    "TRAINER.NAME": "what --method says",
    "TRAINER.TAIDPT.CONCEPTS": "the method mix",
    "MODEL.BACKBONE.NAME": "what --backbone says",
    "SEED": "what --seed says",
    "USE_CUDA": "what --device says",
    "TEST.RECTIFY": "what --rectify says",
    "DATASET.VOCABULARY": "what --classes says",
    "DATASET.CORPUS.FILES": "what --captions says",
    "OUTPUT_DIR": "what --out says",
}
# those of runs and benchmarks, by their beginnings
_OF_RUNS = (
    *("TEST.", "DATALOADER.TEST.", "DATASET.ROOT", "DATASET.NAME", "DATASET.LABEL", "RESUME"),
    *("DATASET.RECIPE", "DATASET.CLASS_NAMES", "DATASET.EVAL_IMAGES", "DATASET.ON_BAD_IMAGE"),
    *("DATASET.COCO.", "DATASET.VOC2007.", "DATASET.NUSWIDE.", "DATASET.IMAGE_LIST."),
)


@dataclass
class Progress:
    """What is told while prompts are learned; both functions do nothing by default.

    Args:
        line: takes a line about what is being done.
        step: takes (steps done, steps in all, loss) after every training step.
    """

    line: Callable[[str], None] = lambda text: None
    step: Callable[[int, int, float], None] = lambda done, total, loss: None


class _Fitting(MultiLabelTrainer):
    """A trainer, watched, with captions held out and as many epochs as the corpus needs.

    What a run says of itself goes to ``log_file`` alone, or nowhere: the console is the caller's.
    """

    dataset: PlainCaptions
    trainer: ClassVar[str]  # its registered name
    steps = STEPS

    def __init__(
        self,
        cfg: CfgNode,
        dataset: PlainCaptions,
        progress: Progress,
        log_file: TextIO | None,
        device: torch.device,
    ) -> None:
        self.progress = progress
        self.watch = progress.step
        self.log_file = log_file
        self.losses: list[float] = []
        super().__init__(cfg, dataset=dataset, device=device)

    def log(self, line: str) -> None:
        if self.log_file is not None:
            print(line, file=self.log_file)

    def report(self, line: str) -> None:
        self.log(line)
        self.progress.line(line)

    def check_cfg(self, cfg: CfgNode) -> None:
        cfg = cfg.clone()
        if cfg.OPTIM.MAX_EPOCH == _AUTO_EPOCHS:  # what it will be the corpus says
            cfg.defrost()
            cfg.OPTIM.MAX_EPOCH = 1
        super().check_cfg(cfg)

    def build_train_loader(self) -> Any:
        self.held_out: LabelledCorpus = self.dataset.hold_out()
        if self.held_out.saturated:
            warnings.warn(
                "every caption names every class, so captions cannot say what an image without one "
                "looks like: no text tells them apart and there are no probabilities; name more "
                "classes, or calibrate on labelled images ('tai-dpt calibrate --labelled')",
                stacklevel=2,
            )
        loader = super().build_train_loader()
        if loader is None:
            corpus = self.dataset.corpus
            self.report(
                f"{len(corpus) - corpus.templates:,} captions say what {self.num_classes} classes "
                "have in common; nothing is trained"
            )
            return None
        if self.cfg.OPTIM.MAX_EPOCH == _AUTO_EPOCHS:
            self.cfg.defrost()
            # one more: the first epoch only warms up
            self.cfg.OPTIM.MAX_EPOCH = 1 + max(-(-self.steps // len(loader)), 3)
            self.cfg.freeze()
            self.max_epoch = self.cfg.OPTIM.MAX_EPOCH
        self.report(
            f"learning from {len(loader.labels):,} texts for {self.num_classes} classes, "
            f"{self.max_epoch} epochs of {len(loader)} steps"
        )
        return loader

    def record_step(self, step: int, losses: Mapping[str, float], **when: Any) -> None:
        super().record_step(step, losses, **when)
        self.losses.append(losses["loss"])


class _Prompts(_Fitting, TaIDPT):
    trainer = "TaIDPT"


class _Concepts(_Fitting, Concepts):
    trainer = "Concepts"


class _Head(_Fitting, CoMC):
    trainer, steps = "CoMC", HEAD_STEPS


_METHODS: dict[str, type[_Fitting]] = {
    "tai-dpt": _Prompts,
    "concepts": _Concepts,
    "comc": _Head,
    "mix": _Prompts,
}
METHODS = tuple(_METHODS)


class Tagger(PromptTagger):
    """Learned from captions, recognises in images.

    With the small CLIP that ships, in two seconds; for photographs give a caption file and leave
    ``backbone`` and ``options`` out.

    >>> from tai_dpt.io.shipped import shipped_data
    >>> captions = ["a dog in a car", "a cat", "a horse and a dog", "two cars"] * 50
    >>> tagger = Tagger.from_captions(
    ...     classes=["dog", "car", "cat", "horse"],
    ...     captions=captions,
    ...     backbone="emoji_scenes",
    ...     options=("OPTIM.MAX_EPOCH", 2),
    ... )
    >>> scene = shipped_data() / "emoji_scenes/images/test/400069.webp"
    >>> tagger.predict([scene], top=1)
    [['horse']]
    """

    @classmethod
    def from_captions(
        cls,
        *,
        classes: Vocabulary | Mapping[str, Sequence[str]] | Sequence[str] | PathLike,
        captions: Sequence[str] | Sequence[Path] | PathLike | None = None,
        backbone: PathLike | None = None,
        method: str = "tai-dpt",
        config: PathLike | None = None,
        options: Sequence[Any] = (),
        rectify: Rectification = "none",
        seed: int = 1,
        log_folder: PathLike | None = None,
        progress: Progress | None = None,
        device: torch.device | str = "auto",
    ) -> Tagger:
        """Learn from captions, then calibrate on captions held out.

        Args:
            classes: names; or names and their synonyms; or a class list's file (see
                ``Vocabulary.from_file``); or the name of a vocabulary that ships.
            captions: texts; or the path of a caption file, or ``Path``s of several; None writes
                them from templates.
            backbone: a published CLIP's name, a weight file, or "emoji_scenes", the tiny one that
                ships; None: the one that ``config`` names, else RN50.
            method: "tai-dpt" learns prompts; "concepts" nothing, a class is what the captions that
                name it have in common; "comc" a linear head; "mix" adds concepts to prompts.
            config: a trainer's yaml file, to replace the recipe for short runs; the
                published one is ``configs/trainers/TaIDPT/rn50.yaml``.
            options: KEY, VALUE, … of the configuration, as after ``train.py``'s flags.
            rectify: what is done to each image's scores (``tai_dpt.scoring.rectification``).
            seed: of the start and the order of captions.
            log_folder: where the trainer's log and checkpoint are kept; nowhere by default.
            progress: takes what is to be told of it while it runs.
            device: where to compute, as for ``load``.

        Raises:
            InputError: no classes, no caption that names one, an unknown backbone, method or
                option.
        """
        if method not in _METHODS:
            raise unknown("method", method, _METHODS)
        progress, device = progress or Progress(), choose_device(device)
        vocabulary = _vocabulary(classes)
        check_rectification(rectify, classes=len(vocabulary), option="rectify", warn=False)
        texts: list[str] | None = None
        files: list[str] = []
        if isinstance(captions, str | os.PathLike):
            files = _caption_files([captions])
        elif captions and all(isinstance(path, os.PathLike) for path in captions):
            files = _caption_files(captions)
        elif captions is not None:
            texts = _texts(captions)
        keys = [str(key) for key in options[::2]]
        for line in unheeded_options(keys, method=method, config=config, written=captions is None):
            warnings.warn(line, stacklevel=2)
        cfg = _configuration(files, backbone, method, config, options, seed, log_folder or "")
        dataset = PlainCaptions(cfg, vocabulary=vocabulary, captions=texts, report=progress.line)
        with open_log(log_folder) if log_folder else nullcontext() as log_file:
            trainer = _METHODS[method](cfg, dataset, progress, log_file, device)
            trainer.train()
        return _tagger(cls, trainer, method, rectify)


def _tagger(cls: type[Tagger], trainer: _Fitting, method: str, rectify: Rectification) -> Tagger:
    cfg, options, backbone = trainer.cfg, trainer.options, trainer.backbone
    if backbone.dtype != torch.float32:  # what is calibrated is what a loaded tagger computes
        backbone = backbone_from_config(cfg, trainer.device, "fp32")
    corpus, held_out = trainer.dataset.corpus, trainer.held_out
    learned = trainer.learned()
    assert learned is not None  # guided concepts were refused
    contexts = {}
    if isinstance(trainer, TaIDPT):
        contexts = {name: getattr(trainer.model, f"ctx_{name}") for name in trainer.model.names}
    steps = len(trainer.losses)
    vocabulary = trainer.dataset.vocabulary
    name = cfg.MODEL.BACKBONE.NAME
    tagger = cls(
        backbone=backbone,
        class_names=trainer.dataset.classnames,
        embeddings=learned.tensors,
        contexts=contexts,
        method=learned.method,
        scoring=replace(learned.scoring, rectify=rectify),
        preprocessing=trainer.preprocessing,
        provenance={
            "language": vocabulary.language,
            "synonyms": [list(words) for words in vocabulary.synonyms],
            "captions": {
                "written_from_templates": trainer.dataset.written,
                "learned_from": len(corpus) - (0 if steps else corpus.templates),
                "held_out": len(held_out),
                "naming_no_class": corpus.naming_none,
                "per_class": corpus.per_class_counts.tolist(),
            },
            "recipe": {
                "steps": steps,
                "method": method,
                "epochs": trainer.max_epoch if steps else 0,
                "loss": [float(np.mean(part)) for part in np.array_split(trainer.losses, 20)]
                if steps >= 20
                else trainer.losses,
                "seed": cfg.SEED,
                "optimizer": plain_config(cfg.OPTIM),
                "options": plain_config(options),
                "batch_size": cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            },
        },
        backbone_file=None if has_name(name) else name,
    )
    if held_out.saturated:
        return tagger
    tagger.calibration, on_captions = calibrate_on_captions(
        tagger.caption_scores(held_out.texts), held_out.labels.toarray()
    )
    # of all captions that were read: samples hold more of some classes, and none of no class
    on_captions = replace(on_captions, cardinality=held_out.cardinality * held_out.naming_share)
    tagger.provenance["calibration_on_captions"] = on_captions.as_dict()
    return tagger


def _configuration(
    files: Sequence[str],
    backbone: PathLike | None,
    method: str,
    config: PathLike | None,
    options: Sequence[Any],
    seed: int,
    output: PathLike,
) -> CfgNode:
    """The run's frozen config."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    recipe = _RECIPE | (_HEAD_RECIPE if method == "comc" else {})
    recipe |= {f"TRAINER.{_METHODS[method].trainer.upper()}.PREC": AUTO}
    merge_pairs(cfg, [part for pair in recipe.items() for part in pair])
    cfg.OPTIM.MAX_EPOCH = _AUTO_EPOCHS
    if config is not None:
        merge_file(cfg, config)
    merge_pairs(cfg, options)
    if method == "tai-dpt" and cfg.TRAINER.TAIDPT.CONCEPTS:
        raise InputError("TRAINER.TAIDPT.CONCEPTS True is the method mix: ask for that")
    cfg.TRAINER.TAIDPT.CONCEPTS = method == "mix"
    if method == "concepts" and cfg.TRAINER.CONCEPTS.CONTEXT_GUIDED:
        raise InputError(
            "TRAINER.CONCEPTS.CONTEXT_GUIDED needs the captions at hand, which a tagger does not "
            "keep: leave it out, or evaluate it as a run (tai-dpt train --trainer Concepts)"
        )
    cfg.TRAINER.NAME = _METHODS[method].trainer
    cfg.DATASET.NAME = "PlainCaptions"
    cfg.TEST.EVALUATOR = "MultiLabelEvaluator"
    cfg.SEED, cfg.OUTPUT_DIR, cfg.DATASET.ROOT = seed, str(output), ""
    cfg.MODEL.BACKBONE.NAME = named_backbone(backbone, config)
    cfg.DATASET.CORPUS.FILES = list(files)
    check_options(cfg)
    cfg.freeze()
    return cfg


def named_backbone(backbone: PathLike | None, config: PathLike | None) -> str:
    """The backbone that is asked for: by name, else by a trainer's yaml file, else RN50."""
    if backbone is None and config is not None:
        backbone = read_file(config).get("MODEL.BACKBONE.NAME") or _USUAL_BACKBONE
        shipped = shipped_data() / backbone
        return os.fspath(shipped if shipped.is_file() else backbone)
    return backbone_file(backbone or _USUAL_BACKBONE)


def unheeded_options(
    keys: Iterable[str], *, method: str, config: PathLike | None, written: bool
) -> Iterator[str]:
    """A line for each option of the configuration that would do nothing, and what to do.

    Args:
        keys: the options that are asked for.
        config: the yaml file of the recipe.
        written: whether the captions are written from templates.
    """
    trainer = _METHODS[method].trainer
    whose = _recipe_of(config) if config is not None else []
    if whose and trainer not in whose:
        yield (
            f"{config} is a recipe of {whose[0]}, and --method {method} is of {trainer}: take a "
            f"file below configs/trainers/{trainer}"
        )
    for key in keys:
        if key in _SET:
            yield f"{key} is {_SET[key]}: ask for that, and leave {key} out"
        elif key.startswith(_OF_RUNS):
            yield f"{key} is for runs on a benchmark, and does nothing in fit: leave it out"
        elif written and key.startswith("DATASET.CORPUS.") and key != "DATASET.CORPUS.TEMPLATES":
            yield (
                f"{key} does nothing where captions are written from templates: give --captions, "
                f"or leave {key} out"
            )
        elif unheeded([key], [trainer]):
            of = owner(key)
            others = [n for n, it in _METHODS.items() if not unheeded([key], [it.trainer])]
            whom = f"--method {', '.join(others)}" if others else ""
            whom = whom or (f"the trainer {of} of tai-dpt train" if of else "none of fit's methods")
            yield (
                f"{key} does nothing with --method {method}: it is for {whom}; leave {key} out"
                f"{', or choose another method' if others else ''}"
            )


def _recipe_of(config: PathLike) -> list[str]:
    """The trainers that a yaml file is for, by its options, else by the folder it is kept in."""
    found = [name for key in read_file(config) if (name := owner(key))]
    folder = Path(config).parent.name
    return found or ([folder] if folder in TRAINER_REGISTRY.registered_names() else [])


def _vocabulary(classes: Any) -> Vocabulary:
    if isinstance(classes, Vocabulary):
        return classes
    if isinstance(classes, str | os.PathLike):
        return Vocabulary.from_file(vocabulary_file(os.fspath(classes)))
    return Vocabulary.from_names(classes)


def _texts(captions: Iterable[object]) -> list[str]:
    """Captions given as values, each in one line."""
    texts = [" ".join(str(text).split()) for text in captions]
    if not any(texts):
        raise InputError("no captions given; leave them out to have some written from templates")
    for number, text in enumerate(texts, start=1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"caption {number} holds half of a character (a lone surrogate): {text!r}"
            ) from None
    return list(filter(None, texts))


def _caption_files(paths: Iterable[Any]) -> list[str]:
    return [str(path) for path in caption_files([expanded(path) for path in paths])]
