"""Numbers drawn from names: the same for any order or subset of what they are drawn for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def uniform_hash(seed: int, rows: Sequence[str], columns: Sequence[str]) -> NDArray[np.float64]:
    """A number in [0, 1) for every (row, column), (n, C), from the names and the seed alone."""
    row_bits, column_bits = _hash64(seed, "row", rows), _hash64(seed, "column", columns)
    mixed = row_bits[:, None] + column_bits[None, :]  # wraps around
    # the output function of the generator splitmix64
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    numbers: NDArray[np.float64] = (mixed >> np.uint64(11)) * 2.0**-53
    return numbers


def _hash64(seed: int, kind: str, names: Sequence[str]) -> NDArray[np.uint64]:
    digests = b"".join(
        hashlib.blake2b(
            f"{seed}\t{kind}\t{name}".encode(errors="surrogateescape"), digest_size=8
        ).digest()
        for name in names
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)
