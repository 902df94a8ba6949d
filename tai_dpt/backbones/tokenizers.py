"""Texts to token ids and back to words, with the tokenizer that came with a model."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import Protocol

from tai_dpt.backbones.clip_package import tokenizer
from tai_dpt.backbones.tokens import CONTEXT_LENGTH, encoded_part, token_ids

_WORD_END = "</w>"  # of CLIP's byte-pair encodings
_WORD_STARTS = ("▁", "Ġ")  # of sentence pieces, of byte-level encodings
_WORDS = re.compile(r"\w+|[^\w\s]")
_MARKS = 3  # tokens of no character: before and behind a text, and a space before its first word
LONG_TEXT = "two dogs stand and look at a big red ball " * 20  # than any context


class Tokenizer(Protocol):
    """What a backbone asks of a tokenizer.

    Attributes:
        identity: what determines the ids of a text beside the context length; "" for OpenAI's.
        context_length: the most tokens that are read of a text, special ones among them.
    """

    identity: str
    context_length: int

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with the special ones around it, at its own length."""

    def encoded_part(self, text: str) -> str:
        """The text, without what lies beyond the last token that is read; whole words."""

    def words(self, ids: Sequence[int]) -> tuple[list[str], list[tuple[int, int]]]:
        """Words of token ids without special ones, and each word's half-open span of tokens."""


class ClipTokenizer:
    """OpenAI's byte-pair encoding, as most models of CLIP's shape have it."""

    identity = ""

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return token_ids(texts, context_length=self.context_length)

    def encoded_part(self, text: str) -> str:
        return encoded_part(text, context_length=self.context_length)

    def words(self, ids: Sequence[int]) -> tuple[list[str], list[tuple[int, int]]]:
        """
        >>> tokenizer = ClipTokenizer(77)
        >>> tokenizer.words(tokenizer.ids(["a giraffe."])[0][1:-1])
        (['a', 'giraffe', '.'], [(0, 1), (1, 2), (2, 3)])
        """
        bpe = tokenizer()
        spans = _spans([bpe.decoder[token] for token in ids])
        return [_decoded("".join(bpe.decoder[t] for t in ids[a:b])) for a, b in spans], spans


CLIPS_OWN = ClipTokenizer(CONTEXT_LENGTH)


class LibraryTokenizer:
    """The tokenizer of another library, behind the same two questions."""

    def __init__(
        self,
        encode: Callable[[list[str], int], Sequence[Sequence[int]]],
        *,
        context_length: int,
        pieces: Callable[[list[int]], list[str]],
        pad_id: int,
        ends_with_padding: bool,
        name: str,
    ) -> None:
        """
        Args:
            encode: texts to ids, cut to so many, padded at the end or not.
            context_length: of the model.
            pieces: ids to what stands for them in the vocabulary.
            pad_id: what ``encode`` pads with.
            ends_with_padding: whether every text ends with that, too, as OpenAI's do in
                transformers.
            name: of the tokenizer, for ``identity``.
        """
        self._encode, self._pieces = encode, pieces
        self._pad_id, self._ends_with_padding = pad_id, ends_with_padding
        self.context_length = context_length
        probe = str(self.ids(["A photo of 2 dogs!", "naïve Straße", "", LONG_TEXT]))
        self.identity = f"{name} {hashlib.sha256(probe.encode()).hexdigest()[:12]}"

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        rows = self._encode(list(texts), self.context_length)
        return [self._unpadded(list(ids)) for ids in rows]

    def encoded_part(self, text: str) -> str:
        if self._is_read(text):
            return text
        ends = [0, *(found.end() for found in _WORDS.finditer(text))]
        # how many beginnings are read whole: the longer one is, the more tokens it has
        last = bisect(ends, False, lo=1, key=lambda end: not self._is_read(text[:end])) - 1
        return text[: ends[last]]

    def _is_read(self, text: str) -> bool:
        """Whether a text has no more tokens than are read of it."""
        if text.isascii() and len(text) + _MARKS <= self.context_length:
            return True  # no token is shorter than a character
        (ids,) = self._encode([text], self.context_length + 1)
        return len(self._unpadded(list(ids))) <= self.context_length

    def words(self, ids: Sequence[int]) -> tuple[list[str], list[tuple[int, int]]]:
        pieces = self._pieces(list(ids))
        spans = _spans(pieces)
        return [_decoded("".join(pieces[a:b])) for a, b in spans], spans

    def _unpadded(self, ids: list[int]) -> list[int]:
        """Without the padding; one of it stays where it is the end of the text, too."""
        end = len(ids)
        while end and ids[end - 1] == self._pad_id:
            end -= 1
        also_ends = end < len(ids) and self._ends_with_padding
        return ids[: end + also_ends] or ids[:1]


def _spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Half-open spans of the pieces that make up a word each."""
    by_end = any(piece.endswith(_WORD_END) for piece in pieces)
    starts = [
        at
        for at, piece in enumerate(pieces)
        if at == 0
        or (pieces[at - 1].endswith(_WORD_END) if by_end else piece.startswith(_WORD_STARTS))
    ]
    return list(zip(starts, [*starts[1:], len(pieces)], strict=True)) if starts else []


def _decoded(word: str) -> str:
    """A vocabulary's spelling of a word as it is written."""
    marked = word.endswith(_WORD_END) or word.startswith("Ġ")
    plain = word.replace(_WORD_END, "").lstrip("".join(_WORD_STARTS))
    table = tokenizer().byte_decoder
    if not marked or any(character not in table for character in plain):
        return plain
    return bytes(table[character] for character in plain).decode("utf-8", errors="replace")
