"""Which options a trainer heeds: one that would do nothing is told, and not passed over.

A table says what options are for; a trainer's class says what it does (``trains``,
``reads_captions``, ``reads_labels``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tai_dpt.scoring.results import CHANGE_NO_FIGURE, flat_config, same_value
from tai_dpt.toolbox import TRAINER_REGISTRY

# how options begin, the attribute of the trainers that heed them, and what these do
_FOR = (
    (("OPTIM.", "TRAIN.", "DATALOADER.TRAIN_X."), "trains", "learn in steps"),
    (("DATASET.CORPUS.",), "reads_captions", "read captions"),
    (
        (
            *("DATASET.PARTIAL.", "DATASET.NUM_SHOTS", "DATASET.HOLDOUT", "INPUT.TRANSFORMS"),
            *("INPUT.RRCROP_SCALE", "INPUT.CUTOUT_FACTOR", "INPUT.RANDAUGMENT_N"),
            *("INPUT.RANDAUGMENT_M", "INPUT.VIEWS", "INPUT.VIEWS_SEED"),
        ),
        "reads_labels",
        "learn from labelled images",
    ),
)
# those of one data set, by its registered name
_OF_DATASETS = {
    "DATASET.COCO.": "CocoFormat",
    "DATASET.VOC2007.": "VOC2007",
    "DATASET.NUSWIDE.": "NUSWIDE",
    "DATASET.IMAGE_LIST.": "ImageList",
}
# Dassl's, which nothing here reads
_OF_NOBODY = (
    *("DATALOADER.TRAIN_U.", "DATALOADER.K_TRANSFORMS", "DATALOADER.RETURN_IMG0", "MODEL.HEAD."),
    *("DATASET.SOURCE_DOMAINS", "DATASET.TARGET_DOMAINS", "DATASET.NUM_LABELED"),
    *("DATASET.VAL_PERCENT", "DATASET.ALL_AS_UNLABELED", "INPUT.NO_TRANSFORM"),
)


# of a trainer's own options, those that a test heeds; the others are of training
_IN_A_TEST = (
    *("PREC", "CONCEPTS", "SCALE", "SHARPNESS", "SHARPNESS_IMAGE", "TEMPLATE", "TOWARDS_TEXT"),
    "TEXT_SCALE",
)
_OF_A_MODEL = ("SEED", "DATASET.NAME", "MODEL.INIT_WEIGHTS", "MODEL.BACKBONE.NAME")


def trained_otherwise(
    theirs: Mapping[str, Any] | None, ours: Mapping[str, Any], trainer: str
) -> dict[str, Any]:
    """The options of training that a model was trained with and ``ours`` has otherwise.

    Args:
        theirs: the nested config that its checkpoint has; None: nobody knows.
        ours: of the run that evaluates it, or goes on with it.
        trainer: its registered name.

    >>> trained_otherwise({"OPTIM": {"LR": 0.1}}, {"OPTIM": {"LR": 0.5}}, "TaIDPT")
    {'OPTIM.LR': 0.1}
    """
    names = TRAINER_REGISTRY.registered_names()
    kind = TRAINER_REGISTRY.get(trainer) if trainer in names else None
    beginnings = [part for parts, does, _ in _FOR if getattr(kind, does, True) for part in parts]
    one, two = flat_config(theirs or {}), flat_config(ours)
    return {
        key: value
        for key, value in one.items()
        if key in two and key not in CHANGE_NO_FIGURE and not same_value(value, two[key])
        if _begins(key, (*_OF_A_MODEL, *beginnings))
        or (owner(key) == trainer and key.rpartition(".")[2] not in _IN_A_TEST)
    }


def owner(key: str) -> str | None:
    """The registered trainer whose own option it is; None where it is none's.

    >>> owner("TRAINER.COMC.NOISE"), owner("OPTIM.LR")
    ('CoMC', None)
    """
    section, *rest = key.split(".")
    if section != "TRAINER" or len(rest) < 2:
        return None
    names = TRAINER_REGISTRY.registered_names()
    return next((name for name in names if name.upper() == rest[0]), None)


def unheeded(
    keys: Iterable[str], trainers: Sequence[str], dataset: str = ""
) -> dict[str, list[str]]:
    """The options that do nothing where ``trainers`` run on ``dataset``, by what they are for.

    Args:
        trainers: registered names.
        dataset: its registered name; "": any.

    >>> unheeded(["OPTIM.LR", "TRAINER.COMC.NOISE", "SEED"], ["ZSCLIP"])
    {'trainers that learn in steps': ['OPTIM.LR'], 'CoMC': ['TRAINER.COMC.NOISE']}
    """
    known = TRAINER_REGISTRY.registered_names()
    classes = [TRAINER_REGISTRY.get(name) for name in trainers if name in known]
    found: dict[str, list[str]] = {}
    for key in keys:
        whose = owner(key)
        if whose is not None:
            whom = "" if whose in trainers else whose
        elif _begins(key, _OF_NOBODY):
            whom = "trainers of Dassl"
        else:
            whom = next(
                (
                    f"trainers that {what}"
                    for beginnings, does, what in _FOR
                    # one of another project says nothing of what it does
                    if classes
                    and _begins(key, beginnings)
                    and not any(getattr(trainer, does, True) for trainer in classes)
                ),
                "",
            )
        home = next((name for start, name in _OF_DATASETS.items() if key.startswith(start)), "")
        if not whom and dataset and home and home != dataset:
            whom = f"the data set {home}"
        if whom:
            found.setdefault(whom, []).append(key)
    return found


def _begins(key: str, beginnings: Iterable[str]) -> bool:
    return any(key == part or (part[-1] == "." and key.startswith(part)) for part in beginnings)
