"""NUS-WIDE's 1,000 tags: 925 seen classes beside the 81 concepts, which are unseen.

``DATASET.CLASSES`` is ``tags925`` to learn, ``concepts81`` for zero-shot and ``all1006`` for
generalised zero-shot. ``TagList1k.txt`` and ``AllTags1k.txt`` are of the archive NUS_WID_Tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError
from tai_dpt.io.opening import open_file
from tai_dpt.io.text import read_lines
from tai_dpt.labels.vocabulary import Vocabulary

TAG_SUBSETS = ("tags925", "concepts81", "all1006")
_SEEN = 925
_TAGS = 1000
_ZERO, _ONE = b"01"


def seen_tags(path: Path, concepts: Sequence[str]) -> tuple[str, ...]:
    """The tags that are not literally among the concepts, in the list's order.

    Raises:
        InputError: there are not 925 of them.
    """
    own = {concept.lower() for concept in concepts}
    tags = tuple(tag for tag in _tags(path) if tag not in own)
    if len(tags) != _SEEN:
        raise InputError(
            f"{path}: {len(tags):,} of its tags are none of the {len(concepts)} concepts, and the "
            f"published split has {_SEEN}: it must be the official list of {_TAGS:,} tags, whole"
        )
    return tags


def with_tags(concepts: Vocabulary | None, tags: Sequence[str]) -> Vocabulary:
    """The concepts, then the tags as classes of one word each."""
    if concepts is None:
        return Vocabulary.from_names(tags)
    if not tags:
        return concepts
    alone = [(tag,) for tag in tags]
    return Vocabulary(
        names=(*concepts.names, *tags),
        synonyms=(*concepts.synonyms, *alone),
        dataset_names=(*concepts.dataset_names, *tags),
    )


def tag_labels(
    path: Path, every: Sequence[str], ids: Sequence[str], tags: Sequence[str]
) -> NDArray[np.int8]:
    """Which of ``tags`` the images ``ids`` have, (n, T): 1 or -1.

    Args:
        path: ``AllTags1k.txt``: a line for each image of ``every``, a 0 or 1 for each tag.

    Raises:
        InputError: the file is damaged, of other images, or an image is not in it.
    """
    place = {image_id: row for row, image_id in enumerate(ids)}
    names = _tags(path.with_name("TagList1k.txt"))
    columns = [names.index(tag) for tag in tags]
    labels = np.full((len(ids), len(tags)), -1, np.int8)
    found = lines = 0
    with open_file(path, remedy="see DATASETS.md for the layout") as stream:
        for lines, line in enumerate(stream, 1):  # half a gigabyte: a line at a time
            row = place.get(every[lines - 1]) if lines <= len(every) else None
            if row is None:
                continue
            found += 1
            marks = np.frombuffer(line, np.uint8)
            marks = marks[marks > 32]  # everything but white space
            if len(marks) != len(names) or not np.isin(marks, (_ZERO, _ONE)).all():
                raise InputError(f"{path}, line {lines}: not {len(names):,} times 0 or 1")
            labels[row, marks[columns] == _ONE] = 1
    if lines != len(every) or found != len(ids):
        raise InputError(
            f"{path}: {lines:,} lines for the {len(every):,} images of Imagelist.txt, with "
            f"{found:,} of the {len(ids):,} asked for: both must be the official files, whole"
        )
    return labels


def _tags(path: Path) -> list[str]:
    return [line.strip().lower() for _, line in read_lines(path) if line.strip()]
