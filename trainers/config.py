"""The options of this plug-in's trainers, added to Dassl's defaults."""

from __future__ import annotations

from yacs.config import CfgNode

from tai_dpt.datasets.config import extend_dataset_cfg

PREDICTIONS = ("merged", "global", "local")
PRECISIONS = ("fp32", "bf16", "fp16")


def extend_cfg(cfg: CfgNode) -> None:
    """Add every option of this plug-in; call it where a CoOp-style script extends its config."""
    extend_dataset_cfg(cfg)

    # Which scores the printed mAP is of; results.json has all three.
    cfg.TEST.PREDICTION = "merged"

    cfg.TRAINER.ZSCLIP = CfgNode()
    cfg.TRAINER.ZSCLIP.TEMPLATE = "a photo of a {}."
    cfg.TRAINER.ZSCLIP.PREC = "fp32"  # fp32, bf16 or fp16

    tai = cfg.TRAINER.TAIDPT = CfgNode()
    tai.N_CTX = 16  # number of context vectors
    tai.CSC = False  # class-specific context
    tai.CTX_INIT = ""  # words to start the context from; then N_CTX is their token count
    tai.CLASS_TOKEN_POSITION = "end"  # end, middle or front
    tai.PREC = "fp32"  # the frozen towers: fp32, bf16 or fp16; scores and loss are always fp32
    tai.SCALE = 4.0  # κ
    tai.SHARPNESS_TEXT = 50.0  # β on captions, 1 / τ_s
    tai.SHARPNESS_IMAGE = 40.0  # β on images: 40 for VOC2007 and COCO, 4 for NUS-WIDE
    tai.MARGIN = 1.0  # m of the ranking loss
