"""What options of the public code of TaI-DPT, CoOp and DualCoOp are called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tai_dpt.errors import InputError

_PROMPT = "TRAINER.TAIDPT.{0} (TRAINER.DUALCOOP.{0} for DualCoOp)"
KEYS = {
    **{
        f"TRAINER.Caption.{name}": _PROMPT.format(name)
        for name in ("N_CTX", "CSC", "CTX_INIT", "PREC", "CLASS_TOKEN_POSITION")
    },
    "TRAINER.Caption.GL_merge_rate": "nothing: TEST.PREDICTION merged is the mean of both scores",
    "TRAINER.Caption.fewshot_TaI_merge_rate": "TRAINER.TAIDPTENSEMBLE.WEIGHT",
    "TRAINER.Caption.partial_TaI_merge_rate": "TRAINER.TAIDPTENSEMBLE.WEIGHT",
    "DATASET.partial_prob": "DATASET.PARTIAL.PROPORTION",
    "DATASET.SAMPLE": "DATASET.CORPUS.MAX_CAPTIONS",
    "DATASET.SUBSAMPLE_CLASSES": "nothing: DATASET.VOCABULARY names the classes",
    "DATALOADER.TRAIN_X.PARTIAL_PORTION": "DATASET.PARTIAL.PROPORTION",
    "DATASET.MASK_FILE": "DATASET.PARTIAL.MASK",
    "TRAIN.LOSSFUNC": "nothing: the trainer has its loss",
    "TRAIN.IF_LEARN_SCALE": "nothing: DualCoOp learns its scale, TaIDPT does not",
    "TRAIN.IF_LEARN_spatial_SCALE": "nothing: DualCoOp learns its sharpness, TaIDPT does not",
    "TRAIN.spatial_SCALE_text": "TRAINER.TAIDPT.SHARPNESS_TEXT",
    "TRAIN.spatial_SCALE_image": "TRAINER.TAIDPT.SHARPNESS_IMAGE",
    "TRAIN.IF_ablation": "nothing: leave it out",
    "TRAIN.Caption_num": "DATASET.CORPUS.MAX_CAPTIONS",
    "TEST.EVALUATOR_ACT": "TEST.PREDICTION (merged, global or local)",
    "TEST.SAVE_PREDS": "nothing: scores.npz is always written",
    "INPUT.random_resized_crop_scale": "INPUT.RRCROP_SCALE",
    "INPUT.cutout_proportion": "INPUT.CUTOUT_FACTOR",
    **{
        f"TRAINER.COOP.{name}": f"TRAINER.MLCOOP.{name}"
        for name in ("N_CTX", "CSC", "CTX_INIT", "PREC", "CLASS_TOKEN_POSITION")
    },
    **{
        f"TRAINER.COCOOP.{name}": "nothing: CoCoOp is not here (MLCoOp has N_CTX, CTX_INIT, PREC)"
        for name in ("N_CTX", "CTX_INIT", "PREC")
    },
    **{
        f"TRAINER.COOP_MLC.{theirs}": f"TRAINER.DUALCOOP.{ours}"
        for theirs, ours in (
            ("N_CTX_POS", "N_CTX"),
            ("N_CTX_NEG", "N_CTX"),
            ("CSC", "CSC"),
            ("POSITIVE_PROMPT_INIT", "CTX_INIT"),
            ("NEGATIVE_PROMPT_INIT", "CTX_INIT"),
            ("ASL_GAMMA_NEG", "GAMMA_NEG"),
            ("ASL_GAMMA_POS", "GAMMA_POS"),
            ("LS", "LOG_SCALE (the logarithm)"),
        )
    },
    **{
        f"TRAINER.{name}": "nothing: the backbone is frozen"
        for name in ("FINETUNE", "FINETUNE_BACKBONE", "FINETUNE_ATTN", "FINETUNE_TEXT")
    },
    **{
        f"OPTIM.{name}_LR_MULT": "nothing: the backbone is frozen"
        for name in ("BACKBONE", "ATTN", "TEXT")
    },
    **{
        f"DATALOADER.{part}.SHUFFLE": "nothing: training images are shuffled, others are not"
        for part in ("TRAIN_X", "TEST", "VAL")
    },
    "DATALOADER.VAL.BATCH_SIZE": "DATALOADER.TEST.BATCH_SIZE",
    "DATALOADER.TRAIN_X.PORTION": "nothing: DATASET.NUM_SHOTS takes so many images a class",
    **{f"INPUT.{part}.SIZE": "INPUT.SIZE" for part in ("TRAIN", "TEST")},
    **{
        f"DATASET.{part}": "nothing: a dataset yaml of configs/datasets names its files"
        for part in (
            *("TRAIN_SPLIT", "VAL_SPLIT", "TEST_SPLIT", "VAL_GZSL_SPLIT", "TEST_GZSL_SPLIT"),
            *("ZS_TRAIN", "ZS_TEST", "ZS_TEST_UNSEEN"),
        )
    },
}
VALUES = {
    "TRAINER.NAME": {
        "Caption_distill_double": "TaIDPT",
        "Caption_dual": "DualCoOp",
        "CoOp": "MLCoOp",
        "CoCoOp": "nothing (MLCoOp is nearest)",
        "ZeroshotCLIP": "ZSCLIP",
        "ZeroshotCLIP2": "ZSCLIP",
        "ZeroshotCLIP_dense": "ZSCLIP (TEST.PREDICTION merged)",
    },
    "DATASET.NAME": {
        "COCO2014_distill": "configs/datasets/coco2014_paper.yaml",
        "COCO2014_partial": "configs/datasets/coco2014.yaml",
        "VOC2007_distill": "configs/datasets/voc2007_paper.yaml",
        "VOC2007_partial": "configs/datasets/voc2007.yaml",
        "nuswide_distill_limit": "configs/datasets/nuswide_paper.yaml",
        "nuswide_partial": "configs/datasets/nuswide.yaml",
        "coco": "configs/datasets/coco2014.yaml",
        "voc2007": "configs/datasets/voc2007.yaml",
        "nus_wide_zsl": "configs/datasets/nuswide.yaml (DATASET.CLASSES chooses classes)",
    },
    "TEST.EVALUATOR": {"MLClassification": "MultiLabelEvaluator"},
}


def refuse_public_names(settings: Mapping[str, Any]) -> None:
    """Raise InputError if any option or name is the public code's: all of them, and ours.

    Args:
        settings: what is asked for, by flat keys.
    """
    meant: dict[str, list[str]] = {}
    for key in settings:
        if key in KEYS:
            meant.setdefault(KEYS[key], []).append(key)
    called = [
        f"{', '.join(keys)} {'is' if len(keys) == 1 else 'are'} {ours}"
        for ours, keys in meant.items()
    ]
    for key, names in VALUES.items():
        value = settings.get(key)
        if isinstance(value, str) and value in names:
            called.append(f"{key} {value} is {names[value]}")
    if called:
        raise InputError(f"these are the public code's names; here {'; '.join(called)}")
