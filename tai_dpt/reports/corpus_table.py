"""What a corpus of captions teaches, as lines and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.scoring.cooccurrence import co_occurrence


def summary(
    everything: LabelledCorpus, used: LabelledCorpus, vocabulary: Vocabulary
) -> Sequence[str]:
    read = len(everything) + everything.dropped
    lines = [
        f"{read:,} captions read",
        f"{everything.naming_none:,} ({everything.naming_none / read:.1%}) name no class: dropped",
    ]
    if repeated := everything.dropped - everything.naming_none:
        lines.append(f"{repeated:,} are repeated, or not in the random sample: left out")
    if len(used) < len(everything):
        lines.append(f"{len(everything) - len(used):,} are over the config's limits: left out")
    lines.append(f"{len(used):,} are learned from")
    sizes = used.per_caption_counts
    counts = np.bincount(sizes)
    shares = ", ".join(f"{n}: {counts[n] / len(used):.1%}" for n in range(1, len(counts)))
    lines += ["", f"classes per caption: {sizes.mean():.2f} on average ({shares})", ""]
    pairs = co_occurrence(used.labels)
    per_class = pairs.diagonal()
    alone = used.labels[np.flatnonzero(sizes == 1)].sum(axis=0, dtype=np.int64)
    rows = [
        (
            vocabulary.names[index],
            f"{per_class[index]:,}",
            f"{per_class[index] / len(used):.1%}",
            f"{alone[index]:,}",
            _companions(pairs[index], index, vocabulary.names),
        )
        for index in np.argsort(-per_class, kind="stable")
    ]
    headers = ("class", "captions", "share", "alone", "most often with")
    align = ("left", "right", "right", "right", "left")
    return [*lines, tabulate(rows, headers, colalign=align, disable_numparse=True)]


def facts_of(
    everything: LabelledCorpus, used: LabelledCorpus, vocabulary: Vocabulary
) -> dict[str, Any]:
    """What ``summary`` says, for ``--json``."""
    return {
        "read": len(everything) + everything.dropped,
        "naming_no_class": everything.naming_none,
        "learned_from": len(used),
        "classes_per_caption": used.per_caption_counts.mean(),
        "captions_per_class": dict(zip(vocabulary.names, used.per_class_counts, strict=True)),
    }


def _companions(together: NDArray[np.int64], index: int, names: Sequence[str]) -> str:
    others = [i for i in np.argsort(-together, kind="stable") if i != index and together[i]]
    return ", ".join(f"{names[i]} {together[i]:,}" for i in others[:3])
