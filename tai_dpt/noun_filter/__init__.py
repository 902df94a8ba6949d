"""Labels read off captions: which classes of a vocabulary a caption names."""

from tai_dpt.noun_filter.filter import LEMMATIZERS, PRESETS, NounFilter
from tai_dpt.noun_filter.lemmas import singular

__all__ = ["LEMMATIZERS", "PRESETS", "NounFilter", "singular"]
