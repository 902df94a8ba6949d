"""Options that a trainer does not heed are told."""

from __future__ import annotations

import pytest

from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.config import default_config
from tai_dpt.trainers.config_files import find_key
from tai_dpt.trainers.heeded import _FOR, _OF_DATASETS, _OF_NOBODY, unheeded
from tai_dpt.trainers.run import build_parser, setup_cfg


def test_the_table_speaks_of_options_and_trainers_that_there_are():
    for key in (*(key for keys, _, _ in _FOR for key in keys), *_OF_DATASETS, *_OF_NOBODY):
        cfg = default_config()
        section = key.removesuffix(".")
        if section == key:
            find_key(cfg, key)
        else:
            head, _, last = section.rpartition(".")
            assert last in (cfg[head] if head else cfg)
    ours = [
        n for n in TRAINER_REGISTRY.registered_names() if hasattr(TRAINER_REGISTRY.get(n), "trains")
    ]
    for _, does, _ in _FOR:
        assert {getattr(TRAINER_REGISTRY.get(name), does) for name in ours} == {True, False}


@pytest.mark.parametrize(
    ("trainer", "key", "whom"),
    [
        ("ZSCLIP", "OPTIM.LR", "trainers that learn in steps"),
        ("ZSCLIP", "DATASET.CORPUS.PRESET", "trainers that read captions"),
        ("TaIDPT", "DATASET.PARTIAL.PROPORTION", "trainers that learn from labelled images"),
        ("TaIDPT", "TRAINER.DUALCOOP.N_CTX", "DualCoOp"),
        ("DualCoOp", "MODEL.HEAD.NAME", "trainers of Dassl"),
        ("DualCoOp", "DATASET.COCO.CROWD", "the data set CocoFormat"),
        ("DualCoOp", "INPUT.SIZE", ""),
        ("TaIDPTEnsemble", "OPTIM.LR", ""),
        ("Concepts", "DATASET.CORPUS.PRESET", ""),
    ],
)
def test_what_is_not_heeded_says_whom_it_is_for(trainer, key, whom):
    assert unheeded([key], [trainer], "VOC2007") == ({whom: [key]} if whom else {})


def test_a_run_says_it_in_one_line_and_goes_on():
    argv = ["--trainer", "ZSCLIP", "OPTIM.LR", "0.1", "OPTIM.NAME", "sgd", "SEED", "3"]
    with pytest.warns(UserWarning, match="^ZSCLIP does not heed OPTIM.LR, OPTIM.NAME: for train"):
        assert setup_cfg(build_parser().parse_args(argv)).OPTIM.LR == 0.1
