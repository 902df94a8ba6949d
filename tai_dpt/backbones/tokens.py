"""Texts as CLIP's tokenizer cuts them: to ids, and to what of them is encoded."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tai_dpt.backbones.clip_package import text_cleaner, tokenizer

CONTEXT_LENGTH = 77  # tokens of every published CLIP, SOS and EOS among them

_SOS, _EOS = "<|startoftext|>", "<|endoftext|>"
_SPECIAL = re.compile(r"<\|(startoftext|endoftext)\|>", re.IGNORECASE)


def token_ids(texts: Sequence[str], *, context_length: int) -> list[list[int]]:
    """Token ids ``[SOS … EOS]`` of each text, at its own length.

    A text longer than the context loses its end but keeps EOS. What is written like a special
    token is plain text.
    """
    encoder = tokenizer().encoder
    sos, eos = encoder[_SOS], encoder[_EOS]
    return [[sos, *_plain_ids(text)[: context_length - 2], eos] for text in texts]


def _plain_ids(text: str) -> list[int]:
    bpe = tokenizer()
    special = bpe.encoder[_SOS], bpe.encoder[_EOS]
    ids: list[int] = bpe.encode(text)
    while not set(special).isdisjoint(ids):  # again: cleaning turns entities into characters
        text = _SPECIAL.sub(r"<| \1 |>", text_cleaner()(text))
        ids = bpe.encode(text)
    return ids


_lengths: dict[str, int] = {}  # tokens of a stretch without white space, of plain letters


def encoded_part(text: str, *, context_length: int) -> str:
    """The text, without what lies beyond the last token that is encoded.

    Whole words: one of which only the beginning is encoded is left out.
    """
    room = context_length - 2
    if text.isascii():
        if len(text) <= room:  # no token is shorter than a character
            return text
        if "&" not in text and "<" not in text:
            parts = text.split()
            try:
                if sum([_lengths[part] for part in parts]) <= room:
                    return text
            except KeyError:
                _lengths.update((part, len(_plain_ids(part))) for part in parts)
                if sum([_lengths[part] for part in parts]) <= room:
                    return text
    elif len(text.encode()) <= room:
        return text
    cleaned = text_cleaner()(text)
    count = 0
    for match in tokenizer().pat.finditer(cleaned):
        count += len(_plain_ids(match[0]))
        if count > room:
            return cleaned[: match.start()].rstrip()
    return text
