"""The valid values of every option, in one table, and the check of a config against it.

A range stands for each number of a list, too. Whatever is not listed must at least be finite.
Names that one module alone knows (trainers, transforms, …) are checked there.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from yacs.config import CfgNode

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.reading import shown_value
from tai_dpt.prompts.encoder import CLASS_TOKEN_POSITIONS
from tai_dpt.scoring.fusion import NORMALISATIONS
from tai_dpt.scoring.patch_classifier import SETTINGS
from tai_dpt.scoring.rectification import RECTIFICATIONS
from tai_dpt.scoring.results import flat_config
from tai_dpt.scoring.scores import KINDS

_MOST = 2**31 - 1  # of what is counted
_LARGEST_SEED = 2**32 - 1  # NumPy's


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``; ``above`` and ``below`` leave out the ends."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low = f"more than {self.low:,}" if self.above else f"at least {self.low:,}"
        return f"{low}, {'less than' if self.below else 'at most'} {self.high:,}"


_RATE = Range(0, 100)
_FRACTION = Range(0, 1)
_COUNT = Range(0, _MOST)
_COUNT_OR_ALL = Range(-1, _MOST)
_FROM_ONE = Range(1, _MOST)
_BATCH = Range(1, 1_000_000)
_SCALE = Range(0, 10_000, above=True)
_SHARPNESS = Range(0, 10_000)
_LOGARITHM = Range(-9, 9)

VALID: dict[str, Range | tuple[str, ...]] = {
    "SEED": Range(-_MOST, _LARGEST_SEED),
    "OPTIM.LR": _RATE,
    "OPTIM.WEIGHT_DECAY": _RATE,
    "OPTIM.MOMENTUM": Range(0, 1, below=True),
    "OPTIM.SGD_DAMPNING": _FRACTION,
    "OPTIM.RMSPROP_ALPHA": _FRACTION,
    "OPTIM.ADAM_BETA1": Range(0, 1, below=True),
    "OPTIM.ADAM_BETA2": Range(0, 1, below=True),
    "OPTIM.BASE_LR_MULT": Range(0, 1_000),
    "OPTIM.STEPSIZE": _COUNT_OR_ALL,
    "OPTIM.GAMMA": Range(0, 10),
    "OPTIM.MAX_EPOCH": _COUNT_OR_ALL,
    "OPTIM.WARMUP_EPOCH": _COUNT_OR_ALL,
    "OPTIM.WARMUP_CONS_LR": _RATE,
    "OPTIM.WARMUP_MIN_LR": _RATE,
    "OPTIM.WARMUP_TYPE": ("constant", "linear"),
    "TRAIN.COUNT_ITER": ("train_x", "train_u", "smaller_one"),
    "TRAIN.PRINT_FREQ": _FROM_ONE,
    "TRAIN.CHECKPOINT_FREQ": _COUNT,
    "DATALOADER.NUM_WORKERS": Range(0, 1_000),
    "DATALOADER.TRAIN_X.BATCH_SIZE": _BATCH,
    "DATALOADER.TEST.BATCH_SIZE": _BATCH,
    "DATASET.CLASS_NAMES": ("paper", "readable"),
    "DATASET.NUM_SHOTS": _COUNT_OR_ALL,
    "DATASET.HOLDOUT": Range(0, 1, below=True),
    "DATASET.PARTIAL.PROPORTION": Range(0, 1, above=True),
    "DATASET.PARTIAL.SEED": Range(0, _LARGEST_SEED),
    "DATASET.CORPUS.PRESET": ("default", "paper"),
    "DATASET.CORPUS.LEMMATIZER": ("", "builtin", "nltk"),
    "DATASET.CORPUS.MAX_TOKENS": _COUNT,
    "DATASET.CORPUS.MAX_CAPTIONS": _COUNT,
    "DATASET.CORPUS.SAMPLE_PER_CLASS": _COUNT,
    "DATASET.CORPUS.PER_CLASS_LIMIT": _COUNT,
    "FEATURES.CACHE": ("auto", "disk", "memory", "off"),
    "FEATURES.PRECISION": ("fp16", "fp32", "int8"),
    "FEATURES.MAX_GB": Range(0, 1_000_000, above=True),
    "INPUT.SIZE": Range(1, 8192),
    "INPUT.PIXEL_MEAN": Range(-1_000, 1_000),
    "INPUT.PIXEL_STD": Range(0, 1_000, above=True),
    "INPUT.RRCROP_SCALE": Range(0, 1, above=True),
    "INPUT.CUTOUT_FACTOR": _FRACTION,
    "INPUT.CUTOUT_N": _COUNT,
    "INPUT.CUTOUT_LEN": _COUNT,
    "INPUT.CROP_PADDING": Range(0, 8192),
    "INPUT.GN_STD": Range(0, 1_000),
    "INPUT.RANDAUGMENT_N": Range(0, 100),
    "INPUT.RANDAUGMENT_M": Range(0, 30),
    "INPUT.COLORJITTER_B": Range(0, 100),
    "INPUT.COLORJITTER_C": Range(0, 100),
    "INPUT.COLORJITTER_S": Range(0, 100),
    "INPUT.COLORJITTER_H": Range(0, 0.5),
    "INPUT.RGS_P": _FRACTION,
    "INPUT.GB_P": _FRACTION,
    "INPUT.VIEWS": Range(0, 10_000),
    "TEST.RECTIFY": RECTIFICATIONS,
    "TEST.PREDICTION": KINDS,
    "DATASET.ON_BAD_IMAGE": ("error", "skip"),
    "INPUT.VIEWS_SEED": Range(0, _LARGEST_SEED),
}

# of this project's trainers, whichever has one: TRAINER.<NAME>.<KEY>
VALID_OF_TRAINERS: dict[str, Range | tuple[str, ...]] = {
    "N_CTX": Range(1, 74),  # CLIP reads 77 tokens; start, end and a class name are among them
    "SCALE": _SCALE,
    "TEXT_SCALE": _SCALE,
    "SHARPNESS": _SHARPNESS,
    "SHARPNESS_TEXT": _SHARPNESS,
    "SHARPNESS_IMAGE": _SHARPNESS,
    "ALPHA_GLOBAL": _SCALE,
    "ALPHA_LOCAL": _SCALE,
    "LOG_SCALE": _LOGARITHM,
    "LOG_SHARPNESS": _LOGARITHM,
    "MARGIN": Range(0, 10_000),
    "NOISE": Range(0, 100),
    "GAMMA_NEG": Range(0, 100),
    "GAMMA_POS": Range(0, 100),
    "CLIP": Range(0, 1, below=True),
    "CLASSES_PER_STEP": _COUNT,
    "TOWARDS_TEXT": _FRACTION,
    "CLASS_TOKEN_POSITION": CLASS_TOKEN_POSITIONS,
    "TEXT_RECTIFY": RECTIFICATIONS,
    "IMAGE_RECTIFY": RECTIFICATIONS,
    "NORMALISE": NORMALISATIONS,
    "FREQUENCY": Range(0, 1, below=True),
    "COMPANIONS": _FROM_ONE,
    "PAIRS": ("captions", "all"),
    "POOL": ("train", "val", "test"),
    "SETTING": tuple(SETTINGS),
    "TABLE": Range(8, _MOST),
}
_LENGTHS = {
    "INPUT.SIZE": (0, 2),
    "INPUT.PIXEL_MEAN": (0, 3),
    "INPUT.PIXEL_STD": (0, 3),
    "INPUT.RRCROP_SCALE": (2,),
}
_TEXTS = ("DATASET.CORPUS.FILES", "DATASET.COCO.TRAIN", "DATASET.COCO.VAL", "DATASET.COCO.TEST")


def check_options(cfg: CfgNode) -> None:
    """Hold every option against what is valid, before any work.

    Raises:
        InputError: one is not; the message says what would be.
    """
    for key, value in flat_config(cfg).items():
        valid: Range | tuple[str, ...] | None = VALID.get(key)
        if key.startswith("TRAINER.") and _is_own(cfg, key):
            valid = VALID_OF_TRAINERS.get(key.rpartition(".")[2])
        _check(key, value, valid)
    for key, lengths in _LENGTHS.items():
        values = _at(cfg, key)
        if len(values) not in lengths:
            wanted = " or ".join(map(str, lengths))
            raise InputError(f"{key} has {len(values)} entries; it takes {wanted}")
    smallest, largest = cfg.INPUT.RRCROP_SCALE
    if smallest > largest:
        raise InputError(f"INPUT.RRCROP_SCALE is ({smallest}, {largest}): the smaller comes first")
    if cfg.OPTIM.SGD_NESTEROV and (not cfg.OPTIM.MOMENTUM or cfg.OPTIM.SGD_DAMPNING):
        raise InputError("OPTIM.SGD_NESTEROV needs a MOMENTUM above 0 and SGD_DAMPNING 0")


def _check(key: str, value: Any, valid: Range | tuple[str, ...] | None) -> None:
    if isinstance(valid, tuple) and not isinstance(valid, Range):
        if value not in valid:
            raise unknown(f"choice ({key})", value, [choice for choice in valid if choice])
        return
    if isinstance(value, str):
        if value and not value.strip():
            raise InputError(f"{key} is blank: leave it empty, or write something")
        return
    for part in value if isinstance(value, list | tuple) else [value]:
        if valid is not None and part not in valid:
            raise InputError(f"{key} is {shown_value(part)}; valid: {valid}")
        if key in _TEXTS and not (isinstance(part, str) and part.strip()):
            raise InputError(f"{key} names {shown_value(part)}; it lists the names of files")
        if isinstance(part, float) and not math.isfinite(part):
            raise InputError(f"{key} is {shown_value(part)}; it must be a finite number")


def _is_own(cfg: CfgNode, key: str) -> bool:
    """Whether the option is one of this project's trainers, which all have a precision."""
    name = key.split(".")[1]
    return "PREC" in cfg.TRAINER[name] if isinstance(cfg.TRAINER[name], CfgNode) else False


def _at(cfg: CfgNode, key: str) -> Any:
    section, name = key.split(".")
    return cfg[section][name]
