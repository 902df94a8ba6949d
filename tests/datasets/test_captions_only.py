"""A class list and captions without a benchmark: what is held out for calibration."""

from __future__ import annotations

import pytest

import tai_dpt.trainers  # noqa: F401  (its options)
from tai_dpt.datasets import PlainCaptions
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.trainers.config import default_config

CAPTIONS = [f"a dog and the {i}th cat" for i in range(300)] + [f"the sky, {i}" for i in range(100)]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("SAMPLE_PER_CLASS", 250),
        ("SAMPLE_PER_CLASS", 20),
        ("DROP_DUPLICATES", True),
        ("MAX_CAPTIONS", 240),
        ("PER_CLASS_LIMIT", 30),
        ("TEMPLATES", False),
    ],
    ids=lambda options: "=".join(map(str, options)) or "none",
)
def test_the_share_that_names_a_class_is_of_all_captions(options):
    """It scales the number of classes that an image is expected to have."""
    cfg = default_config()
    if options:
        setattr(cfg.DATASET.CORPUS, *options)
    dataset = PlainCaptions(cfg, vocabulary=Vocabulary(("dog", "cat")), captions=CAPTIONS)
    held_out = dataset.hold_out()
    assert held_out.naming_share == 300 / 400
    named = sum(("dog" in text) + ("cat" in text) for text in CAPTIONS)
    assert held_out.cardinality == dataset.corpus.cardinality == named / 300
    assert held_out.naming_none == dataset.corpus.naming_none == 100
