"""Labels read off captions: which classes of a vocabulary a caption names."""

from tai_dpt.labels.filter import LEMMATIZERS, PRESETS, NounFilter
from tai_dpt.labels.lemmas import singular

__all__ = ["LEMMATIZERS", "PRESETS", "NounFilter", "singular"]
