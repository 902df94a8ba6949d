"""Options out of range are refused where they are set, by a message that says what is valid."""

from __future__ import annotations

from pathlib import Path

import pytest

import tai_dpt.datasets  # noqa: F401  (registers them)
from tai_dpt.errors import InputError
from tai_dpt.scoring.results import flat_config
from tai_dpt.trainers import option_ranges
from tai_dpt.trainers.dualcoop import DualCoOp
from tai_dpt.trainers.run import build_parser, setup_cfg

from places import ROOT


def config(*pairs: object, **flags: str):
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    return setup_cfg(build_parser().parse_args([*argv, *map(str, pairs)]))


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        ("OPTIM.LR", "-1", "at least 0, at most 100"),
        ("OPTIM.LR", "1e30", "at most 100"),
        ("OPTIM.LR", "nan", "valid: at least 0"),
        ("OPTIM.MOMENTUM", "-1", "at least 0, less than 1"),
        ("OPTIM.WEIGHT_DECAY", "-1", "at least 0"),
        ("OPTIM.ADAM_BETA1", "2", "less than 1"),
        ("OPTIM.GAMMA", "nan", "at least 0"),
        ("OPTIM.STEPSIZE", "(-2,)", "at least -1"),
        ("TRAIN.PRINT_FREQ", "0", "at least 1"),
        ("FEATURES.MAX_GB", "inf", "more than 0"),
        ("FEATURES.MAX_GB", "nan", "more than 0"),
        ("FEATURES.CACHE", "dsk", "did you mean 'disk'?"),
        ("SEED", 2**32, "at most 4,294,967,295"),
        ("DATASET.CORPUS.MAX_CAPTIONS", "-5", "at least 0"),
        ("DATASET.CORPUS.FILES", "[5]", "it lists the names of files"),
        ("DATASET.COCO.TEST", "(1, 2)", "it lists the names of files"),
        ("DATASET.CLASS_NAMES", "foo", "valid: paper, readable"),
        ("TRAINER.TAIDPT.SCALE", "0", "more than 0, at most 10,000"),
        ("TRAINER.TAIDPT.SCALE", "nan", "more than 0"),
        ("TRAINER.TAIDPT.SHARPNESS_TEXT", "-4", "at least 0"),
        ("TRAINER.TAIDPT.SHARPNESS_IMAGE", "1e38", "at most 10,000"),
        ("TRAINER.TAIDPT.N_CTX", "1000000000", "at most 74"),
        ("TRAINER.TAIDPT.CTX_INIT", "' '", "is blank"),
        ("TRAINER.DUALCOOP.LOG_SCALE", "1000", "at most 9"),
        ("DATALOADER.TRAIN_X.BATCH_SIZE", 10**20, "at most 1,000,000"),
        ("INPUT.SIZE", "(7, -1)", "at least 1"),
        ("INPUT.SIZE", "(1, 2, 3)", "it takes 0 or 2"),
        ("INPUT.PIXEL_STD", "(1.0, 1.0, 0.0)", "more than 0"),
        ("INPUT.PIXEL_MEAN", "(0.5, 0.5)", "it takes 0 or 3"),
        ("INPUT.PIXEL_MEAN", "(1e30, 0.0, 0.0)", "at most 1,000"),
        ("INPUT.RRCROP_SCALE", "(1.0, 0.5)", "the smaller comes first"),
        ("INPUT.GN_MEAN", "inf", "must be a finite number"),
    ],
)
def test_refused(key: str, value: object, valid: str) -> None:
    with pytest.raises(InputError) as caught:
        config(key, value)
    assert key in str(caught.value) and valid in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(InputError, match="NESTEROV needs a MOMENTUM above 0"):
        config("OPTIM.SGD_NESTEROV", True, "OPTIM.MOMENTUM", 0)
    config("OPTIM.SGD_NESTEROV", True)


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*/**/*.yaml")), ids=lambda p: p.stem
)
def test_what_ships_is_valid(file: Path) -> None:
    config(config_file=str(file))


def test_every_range_is_of_an_option_that_there_is() -> None:
    keys = set(flat_config(config()))
    assert keys >= set(option_ranges.VALID)
    leaves = {key.rpartition(".")[2] for key in keys if key.startswith("TRAINER.")}
    assert leaves >= set(option_ranges.VALID_OF_TRAINERS)


def test_a_trainer_checks_them_itself() -> None:
    """For codebases that start it with a script of their own."""
    cfg = config("TRAINER.NAME", "DualCoOp")
    cfg.defrost()
    cfg.TRAINER.DUALCOOP.CLIP = 1.0
    with pytest.raises(InputError, match=r"DUALCOOP.CLIP is 1.0; valid: .* less than 1"):
        object.__new__(DualCoOp).check_cfg(cfg)


@pytest.mark.parametrize(
    ("key", "value"),
    [("OPTIM.LR_SCHEDULER", "foo"), ("OPTIM.MAX_EPOCH", 0), ("OPTIM.NAME", "foo")],
)
def test_how_it_learns_is_known_before_anything_is_read(key: str, value: object) -> None:
    with pytest.raises(InputError, match=key):
        object.__new__(DualCoOp).check_cfg(config("TRAINER.NAME", "DualCoOp", key, value))
