"""The options that datasets read, added to Dassl's defaults by ``extend_cfg``."""

from __future__ import annotations

from yacs.config import CfgNode


def extend_dataset_cfg(cfg: CfgNode) -> None:
    """Add ``DATASET.*``, ``INPUT.TRANSFORMS_TEST`` and ``FEATURES.*``."""
    dataset = cfg.DATASET
    dataset.VOCABULARY = ""  # built-in (voc2007, coco2014, nuswide) or a .txt/.yaml file
    dataset.CLASS_NAMES = "paper"  # built-in vocabularies: "paper" or "readable" names
    dataset.ON_BAD_IMAGE = "error"  # an unreadable image: "error", or "skip" (named, counted)

    dataset.CORPUS = CfgNode()  # the captions that TaI-DPT learns from
    dataset.CORPUS.FILES = ()  # caption files, relative to ROOT
    dataset.CORPUS.FORMAT = "auto"  # see tai_dpt.datasets.corpora.FORMATS
    dataset.CORPUS.FIELD = ""  # JSON lines: the field; CSV: the column that holds the caption
    dataset.CORPUS.ONE_PER_IMAGE = False  # COCO: one caption of each image, as the public code
    dataset.CORPUS.ON_BAD_LINE = "error"  # "error", or "skip" (counted)
    dataset.CORPUS.PRESET = "default"  # noun filter: "default" or "paper"
    dataset.CORPUS.LEMMATIZER = "builtin"  # "builtin" (no download) or "nltk"
    dataset.CORPUS.MAX_CAPTIONS = 0  # 0: all; else so many, drawn by SEED (figure 7)
    dataset.CORPUS.PER_CLASS_LIMIT = 0  # 0: none; NUS-WIDE's corpus: 1,000
    dataset.CORPUS.TEMPLATES = True  # add the class names' template sentences

    dataset.COCO = CfgNode()  # CocoFormat: (instances file, image folder) of each split
    dataset.COCO.TRAIN = ()
    dataset.COCO.VAL = ()
    dataset.COCO.TEST = ()

    # Without "center_crop" the image is resized to INPUT.SIZE, not cropped (DualCoOp's test).
    cfg.INPUT.TRANSFORMS_TEST = ("resize", "center_crop", "normalize")

    cfg.FEATURES = CfgNode()  # frozen features, computed once
    cfg.FEATURES.CACHE = "disk"  # "disk", "memory", or "off" (encode again in every epoch)
    cfg.FEATURES.DIR = ""  # default: $TAI_DPT_CACHE, else ~/.cache/tai-dpt
    cfg.FEATURES.PRECISION = "fp16"  # what is stored: "fp16" or "fp32"
    cfg.FEATURES.MAX_GB = 100.0  # refuse to write more than this
