"""Labels of captions, read off the part of each that a backbone encodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import tee

from tai_dpt.backbones.tokenizers import CLIPS_OWN, Tokenizer
from tai_dpt.labels import NounFilter


def read_labels(
    captions: Iterable[str], noun_filter: NounFilter, tokenizer: Tokenizer = CLIPS_OWN
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Captions with the sorted class indices that the part of each names which is encoded.

    A backbone reads so many tokens of a text (OpenAI's 77): what a caption names after them is no
    label of its features. The preset "paper" with a ``max_tokens`` reads so many words, as the
    public code does.
    """
    texts, kept = tee(captions)
    most = noun_filter.max_tokens
    all_read = most is not None and most <= tokenizer.context_length
    published = noun_filter.preset == "paper" and all_read
    read = texts if published else map(tokenizer.encoded_part, texts)
    return zip(kept, noun_filter.stream(read), strict=True)
