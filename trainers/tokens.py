"""Token ids of a corpus, kept beside its features so that a second run starts at once."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tai_dpt.backbones import Backbone
from tai_dpt.errors import InputError
from tai_dpt.io.arrays import ArraySpec, read_npz
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.cache import ELSEWHERE

_PARTS = {"lengths": ArraySpec("iu", ("texts",)), "ids": ArraySpec("iu", ("tokens",))}


def cached_tokens(
    backbone: Backbone, texts: Sequence[str], *, digest: str, folder: Path | None
) -> list[list[int]]:
    """``backbone.tokenize(texts)``, from ``folder`` where it was done before.

    The file is shared by all backbones that have the tokenizer in common, as OpenAI's have. A
    damaged one is warned about and made again.

    Args:
        digest: a hash of ``texts``.
        folder: the cache folder; None keeps nothing.
    """
    if folder is None:
        return backbone.tokenize(texts)
    other = backbone.tokenizer.identity
    mark = f"-{hashlib.sha256(other.encode()).hexdigest()[:8]}" if other else ""
    path = folder / f"tokens-{digest[:16]}-{backbone.text.context_length}{mark}.npz"
    if os.path.exists(path):
        try:
            return _read(path, len(texts))
        except InputError as error:
            warnings.warn(f"{error}; tokenising again", stacklevel=2)
    tokens = backbone.tokenize(texts)
    try:
        with atomic_write(path) as stream:
            np.savez(
                stream,
                lengths=np.array([len(ids) for ids in tokens], np.uint16),
                ids=np.array([i for ids in tokens for i in ids], np.uint32),
            )
    except OSError as error:
        warnings.warn(f"tokens are not kept ({error}): {ELSEWHERE}", stacklevel=2)
    return tokens


def _read(path: Path, count: int) -> list[list[int]]:
    parts = read_npz(path, _PARTS)
    lengths, ids = parts["lengths"], parts["ids"]
    ends = lengths.cumsum(dtype=np.int64).tolist()
    if len(ends) != count or (ends[-1] if ends else 0) != len(ids):
        raise InputError(f"{path} does not hold this corpus")
    flat = ids.tolist()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
