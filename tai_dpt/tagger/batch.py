"""What a tagger says of some images of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from tai_dpt.scoring.scores import Scores


@dataclass(frozen=True)
class TaggedBatch:
    """The scores of some images of a stream, and what could not be read among them."""

    indices: list[int]  # of the images that have scores
    scores: Scores  # (len(indices), C) each, on the CPU
    errors: dict[int, str] = field(default_factory=dict)  # index -> one line
