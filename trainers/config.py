"""The options of this plug-in's trainers, added to Dassl's defaults."""

from __future__ import annotations

from yacs.config import CfgNode

from tai_dpt.datasets.config import extend_dataset_cfg

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

    dual = cfg.TRAINER.DUALCOOP = CfgNode()
    dual.N_CTX = 16
    dual.CSC = True
    dual.CTX_INIT = ""
    dual.CLASS_TOKEN_POSITION = "end"
    dual.PREC = "fp32"
    dual.LOG_SCALE = 3.91  # t, where it starts: κ = exp(t) is learned
    dual.LOG_SHARPNESS = 3.0  # u, where it starts: β = exp(u) is learned
    dual.GAMMA_NEG = 2.0  # of the asymmetric loss
    dual.GAMMA_POS = 1.0
    dual.CLIP = 0.05

    coop = cfg.TRAINER.MLCOOP = CfgNode()
    coop.N_CTX = 16
    coop.CSC = False
    coop.CTX_INIT = ""
    coop.CLASS_TOKEN_POSITION = "end"
    coop.PREC = "fp32"
    coop.LOCAL = True  # learn the local prompt too
    coop.SCALE = 4.0
    coop.SHARPNESS = 40.0  # β, in training and in testing
    coop.MARGIN = 1.0

    both = cfg.TRAINER.TAIDPTENSEMBLE = CfgNode()
    both.TEXT_RUN = ""  # folder of a finished run that learned from captions
    both.IMAGE_RUN = ""  # folder of a finished run that learned from images
    both.TEXT_TRAINER = "TaIDPT"  # without TEXT_RUN: what to train in OUTPUT_DIR/text, by
    both.TEXT_CONFIG = ""  # this yaml file
    both.TEXT_OPTS = ()  # and KEY, VALUE, KEY, VALUE, …
    both.IMAGE_TRAINER = "DualCoOp"  # the same, in OUTPUT_DIR/image
    both.IMAGE_CONFIG = ""
    both.IMAGE_OPTS = ()
    # λ, the image-learned share, as text: "0.9" (the public code's for partial labels), or "auto":
    # chosen on the training images that DATASET.HOLDOUT keeps from training
    both.WEIGHT = "0.9"
    both.NORMALISE = "minmax"  # minmax (the paper's), zscore or rank
