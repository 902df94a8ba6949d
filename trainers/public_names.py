"""What options of the public code of TaI-DPT (and DualCoOp's) are called here."""

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
}
VALUES = {
    "TRAINER.NAME": {
        "Caption_distill_double": "TaIDPT",
        "Caption_dual": "DualCoOp",
        "CoOp": "MLCoOp",
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
    },
    "TEST.EVALUATOR": {"MLClassification": "MultiLabelEvaluator"},
}


def refuse_public_names(settings: Mapping[str, Any]) -> None:
    """Raise InputError if any option or name is the public code's: all of them, and ours.

    Args:
        settings: what is asked for, by flat keys.
    """
    called = [f"{key} is {KEYS[key]}" for key in settings if key in KEYS]
    for key, names in VALUES.items():
        value = settings.get(key)
        if isinstance(value, str) and value in names:
            called.append(f"{key} {value} is {names[value]}")
    if called:
        raise InputError(f"these are the public code's names; here {'; '.join(called)}")
