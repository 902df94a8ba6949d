"""The words of a caption as CLIP's tokenizer cuts them."""

from __future__ import annotations

from collections.abc import Sequence

from tai_dpt.backbones.clip_package import tokenizer

_WORD_END = "</w>"


def words_of(token_ids: Sequence[int]) -> tuple[list[str], list[tuple[int, int]]]:
    """Words, and the half-open span of tokens that each one is made of.

    Args:
        token_ids: a text's, without SOS and EOS.

    >>> words_of(Backbone.tokenize(["a giraffe."])[0][1:-1])
    (["a", "giraffe", "."], [(0, 1), (1, 2), (2, 3)])
    """
    bpe = tokenizer()
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    start = 0
    for end, token in enumerate(token_ids, 1):
        if bpe.decoder[token].endswith(_WORD_END) or end == len(token_ids):
            text = "".join(bpe.decoder[t] for t in token_ids[start:end])
            spelled = bytes(bpe.byte_decoder[c] for c in text.replace(_WORD_END, ""))
            words.append(spelled.decode("utf-8", errors="replace"))
            spans.append((start, end))
            start = end
    return words, spans
