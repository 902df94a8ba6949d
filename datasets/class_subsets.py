"""Some of a benchmark's classes: the published splits into seen and unseen ones.

``DATASET.CLASSES`` names one; ``seen`` and ``unseen`` split any class list. NUS-WIDE's own are in
``nus_tags.py``. Captions are labelled with the whole vocabulary first, so that a
"hot dog" is no dog where only *dog* is asked for.
"""

from __future__ import annotations

import random

from tai_dpt.errors import InputError, unknown
from tai_dpt.labels.spelling import normalise
from tai_dpt.labels.vocabulary import Vocabulary

# Bansal et al.'s split as the zero-shot experiments of DualCoOp have it, by COCO's own names
_SEEN_48 = """person, bicycle, car, motorcycle, train, truck, boat, bench, bird, horse, sheep, bear,
zebra, giraffe, backpack, handbag, suitcase, frisbee, skis, kite, surfboard, bottle, fork, spoon,
bowl, banana, apple, sandwich, orange, broccoli, carrot, pizza, donut, chair, bed, toilet, tv,
laptop, mouse, remote, microwave, oven, toaster, refrigerator, book, clock, vase, toothbrush"""
_UNSEEN_17 = """airplane, bus, cat, dog, cow, elephant, umbrella, tie, snowboard, skateboard, cup,
knife, cake, couch, keyboard, sink, scissors"""


def laso_seen(classes: int = 80) -> list[int]:
    """The columns of the seen four fifths of a class list: the rule is a draw by seed 0.

    Of COCO's 80 in the order of their ids they are the 64 of the paper's table 3 (LaSO, CVPR
    2019).
    """
    return sorted(random.Random(0).sample(range(classes), classes * 4 // 5))


def subset_columns(name: str, vocabulary: Vocabulary) -> list[int]:
    """The columns of a vocabulary that a subset consists of, in the vocabulary's order.

    Raises:
        InputError: an unknown subset, or a vocabulary that is not COCO's.
    """
    if name not in SUBSETS:
        raise unknown("subset of classes (DATASET.CLASSES)", name, SUBSETS)
    if name == "seen_and_unseen":
        return list(range(len(vocabulary)))
    seen = laso_seen(len(vocabulary))
    if name == "seen":
        return seen
    if name == "unseen":
        return [column for column in range(len(vocabulary)) if column not in seen]
    if len(vocabulary) != 80:
        raise InputError(
            f"DATASET.CLASSES {name} is a subset of COCO's 80 classes, and DATASET.VOCABULARY has "
            f"{len(vocabulary)}: take coco2014"
        )
    if name == "novel16":
        return [column for column in range(80) if column not in seen]
    if name == "seen64":
        return seen
    listed = {"seen48": _SEEN_48, "unseen17": _UNSEEN_17, "all65": f"{_SEEN_48}, {_UNSEEN_17}"}
    wanted = {normalise(word) for word in listed[name].replace("\n", " ").split(",")}
    columns = [
        column for column, own in enumerate(vocabulary.dataset_names) if normalise(own) in wanted
    ]
    if len(columns) != len(wanted):
        raise InputError(
            f"DATASET.CLASSES {name}: only {len(columns)} of its {len(wanted)} classes are in "
            "DATASET.VOCABULARY: take coco2014"
        )
    return columns


#: what ``DATASET.CLASSES`` takes besides "": all classes
ANY_LIST = ("seen", "unseen", "seen_and_unseen")  # splits of any class list
SUBSETS = ("novel16", "seen64", "seen48", "unseen17", "all65", *ANY_LIST)
EVAL_IMAGES = ("all", "any_positive")
