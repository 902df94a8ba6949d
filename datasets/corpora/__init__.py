"""Caption corpora: files of captions in, texts with labels out."""

from tai_dpt.datasets.corpora.cache import load_corpus
from tai_dpt.datasets.corpora.labelled import (
    LabelledCorpus,
    label_corpus,
    limit_per_class,
)
from tai_dpt.datasets.corpora.readers import (
    FORMATS,
    ON_BAD_LINE,
    field_from_text,
    read_captions,
)
from tai_dpt.datasets.corpora.reading_labels import read_labels

__all__ = [
    "FORMATS",
    "ON_BAD_LINE",
    "LabelledCorpus",
    "field_from_text",
    "label_corpus",
    "limit_per_class",
    "load_corpus",
    "read_captions",
    "read_labels",
]
