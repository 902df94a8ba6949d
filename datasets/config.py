"""The options that datasets read, added to Dassl's defaults by ``extend_cfg``."""

from __future__ import annotations

from pathlib import Path

from yacs.config import CfgNode

from tai_dpt.io.cache import cache_root
from tai_dpt.io.opening import expanded


def extend_dataset_cfg(cfg: CfgNode) -> None:
    """Add ``DATASET.*`` and ``FEATURES.*``; leave ``INPUT.*`` to whoever sets it."""
    dataset = cfg.DATASET
    dataset.LABEL = ""  # the benchmark's name in reports; default: the dataset yaml's file name
    dataset.RECIPE = ""  # whose published settings a sweep takes: configs/trainers/*/*_RECIPE.yaml
    dataset.VOCABULARY = ""  # built-in (voc2007, coco2014, nuswide) or a .txt/.yaml file
    dataset.CLASS_NAMES = "paper"  # built-in vocabularies: "paper" or "readable" names
    dataset.CLASSES = ""  # some of them: see datasets/class_subsets.py; "": all
    # what is evaluated: "all" images of the split, or those with "any_positive" label
    dataset.EVAL_IMAGES = "all"
    dataset.ON_BAD_IMAGE = "error"  # an unreadable image: "error", or "skip" (named, counted)

    dataset.CORPUS = CfgNode()  # the captions that TaI-DPT learns from
    dataset.CORPUS.FILES = ()  # caption files or patterns ("captions-*.tsv"), relative to ROOT
    dataset.CORPUS.FORMAT = "auto"  # see tai_dpt.datasets.corpora.FORMATS
    dataset.CORPUS.FIELD = ""  # JSON lines: the field; CSV: the column that holds the caption
    dataset.CORPUS.ONE_PER_IMAGE = False  # COCO: one caption of each image, as the public code
    dataset.CORPUS.ON_BAD_LINE = "error"  # "error", or "skip" (counted)
    dataset.CORPUS.PRESET = "default"  # noun filter: "default" or "paper"
    # "builtin" (no download) or "nltk"; "": what the preset needs, so "nltk" for "paper"
    dataset.CORPUS.LEMMATIZER = ""
    dataset.CORPUS.MAX_TOKENS = 0  # labels from so many first words; 0: from what CLIP encodes
    dataset.CORPUS.GROW = False  # add WordNet's words under each class; needs NLTK's data
    dataset.CORPUS.MAX_CAPTIONS = 0  # 0: all; else so many, drawn by SEED (figure 7)
    dataset.CORPUS.DROP_DUPLICATES = False  # a text that comes again is kept once
    dataset.CORPUS.SAMPLE_PER_CLASS = 0  # 0: all; else so many different ones, drawn by SEED
    dataset.CORPUS.PER_CLASS_LIMIT = 0  # 0: none; NUS-WIDE's corpus: 1,000
    dataset.CORPUS.TEMPLATES = True  # add the class names' template sentences

    dataset.COCO = CfgNode()  # CocoFormat: (instances file, image folder) of each split
    dataset.COCO.TRAIN = ()
    dataset.COCO.VAL = ()
    dataset.COCO.TEST = ()
    # regions with a crowd of things: "count"; "leave_out"; "paper", as in the public code for
    # table 2, which also passes over training boxes under a pixel
    dataset.COCO.CROWD = "count"

    dataset.VOC2007 = CfgNode()
    dataset.VOC2007.FOLDER = "VOCdevkit/VOC2007"
    dataset.VOC2007.DIFFICULT = "negative"  # in the metric; or "ignore", as VOC's own devkit

    dataset.NUSWIDE = CfgNode()
    dataset.NUSWIDE.FOLDER = "NUSWIDE"
    dataset.NUSWIDE.UNLABELLED = "keep"  # images without any concept: "keep" or "drop"

    dataset.IMAGE_LIST = CfgNode()  # ImageList: a folder of images, and who shows what
    dataset.IMAGE_LIST.IMAGES = ""  # the folder, searched with its subfolders
    dataset.IMAGE_LIST.TRAIN = ""  # label files: .csv, .tsv, .jsonl; see datasets/label_files.py
    dataset.IMAGE_LIST.VAL = ""
    dataset.IMAGE_LIST.TEST = ""  # without any label file all images are test images
    dataset.IMAGE_LIST.SEPARATOR = ";|,"  # any of these parts the names in a "labels" column
    dataset.IMAGE_LIST.ZERO = ""  # "absent" or "unknown", for a file that has both 0 and -1
    dataset.IMAGE_LIST.PRESENT_FROM = 0.0  # soft labels: a class is there from this on; 0: none
    dataset.IMAGE_LIST.SKIP_COLUMNS = ()  # columns of a CSV file that are no classes

    dataset.PARTIAL = CfgNode()  # which labels of the training images are known
    dataset.PARTIAL.PROPORTION = 1.0  # above 0, at most 1
    dataset.PARTIAL.SEED = 0  # of the mask, apart from SEED: two methods see the same labels
    dataset.PARTIAL.MASK = ""  # a file to read in place of drawing; see datasets/partial.py
    dataset.HOLDOUT = 0.0  # share of training images kept from training, to choose λ on

    # How images are prepared is the backbone's to know. Empty here, so that Dassl's own defaults
    # (ImageNet's mean, 224 pixels, bilinear) do not count as somebody's wish; what is set wins.
    cfg.INPUT.SIZE = ()  # (height, width)
    cfg.INPUT.INTERPOLATION = ""  # bicubic, bilinear or nearest
    cfg.INPUT.PIXEL_MEAN = []
    cfg.INPUT.PIXEL_STD = []
    # [resize, center_crop, normalize], or without center_crop: the image is resized whatever its
    # shape, not cropped (DualCoOp's test)
    cfg.INPUT.TRANSFORMS_TEST = ()
    # INPUT.TRANSFORMS: see datasets/augment.py; nothing random there: as test images
    cfg.INPUT.CUTOUT_FACTOR = 0.4  # of each side
    cfg.INPUT.VIEWS = 0  # augmented views of an image that are stored; 0: new ones every epoch
    cfg.INPUT.VIEWS_SEED = 0  # of the stored views: runs of all seeds share them

    cfg.FEATURES = CfgNode()  # frozen features, computed once
    # "disk", "memory", "off" (encode again in every epoch), or "auto": disk, but test images that
    # do not fit are encoded as they are scored
    cfg.FEATURES.CACHE = "auto"
    cfg.FEATURES.DIR = ""  # default: $TAI_DPT_CACHE, else the user's cache folder
    cfg.FEATURES.PRECISION = "fp16"  # what is stored: "fp16", "fp32", or "int8"
    cfg.FEATURES.MAX_GB = 100.0  # refuse to write more than this


def cache_folder(cfg: CfgNode) -> Path | None:
    """Where features and what leads to them are kept; None where none is used."""
    if cfg.FEATURES.CACHE not in ("auto", "disk"):
        return None
    return expanded(cfg.FEATURES.DIR) if cfg.FEATURES.DIR else cache_root()
