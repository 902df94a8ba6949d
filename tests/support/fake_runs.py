"""Folders of runs as an evaluation leaves them, without evaluating anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IMAGES = {"voc2007": 4952, "coco2014": 40504, "emoji_scenes": 1500}


def write_run(
    folder: Path,
    *,
    trainer: str = "TaIDPT",
    dataset: str = "voc2007",
    seed: int = 1,
    mean_ap: tuple[float | None, ...] = (86.0, 87.0, 88.0),  # global, local, merged
    label: str | None = None,
    split: str = "test",
    images: int | None = None,
    **options: Any,
) -> Path:
    """Write a run's results.json; ``options`` are KEY__SUBKEY=value. Returns the file."""
    config: dict[str, Any] = {
        "SEED": seed,
        "OUTPUT_DIR": str(folder),
        "DATASET": {
            "NAME": "CocoFormat",
            "LABEL": dataset if label is None else label,
            "NUM_SHOTS": -1,
            "PARTIAL": {"PROPORTION": 1.0, "SEED": 0},
            "CORPUS": {"MAX_CAPTIONS": 0},
        },
        "MODEL": {"BACKBONE": {"NAME": "RN50"}},
        "OPTIM": {"LR": 0.002, "MAX_EPOCH": 10},
        "TEST": {"FINAL_MODEL": "last_step"},
        "TRAINER": {"NAME": trainer, "TAIDPT": {"N_CTX": 16}, "TAIDPTENSEMBLE": {"TEXT_RUN": ""}},
    }
    for key, value in options.items():
        *parents, leaf = key.split("__")
        node = config
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = value
    results = {
        "trainer": trainer,
        "dataset": "CocoFormat",
        "split": split,
        "seed": seed,
        "images": IMAGES.get(dataset, 10) if images is None else images,
        "prediction": "merged",
        "mAP": mean_ap[2],
        "metrics": {
            name: {"mAP": value}
            for name, value in zip(("global", "local", "merged"), mean_ap, strict=True)
        },
        "backbone": {"name": "RN50", "sha256": "0123456789abcdef"},
        "config": config,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    (folder / "log.txt").write_text("epoch [10/10] batch [1/1]\n", encoding="utf-8")
    return path


def write_scores(folder: Path, images: int = 20, classes: int = 9) -> None:
    """Beside a run's results: scores that tell the labels somewhat."""
    import numpy as np

    from tai_dpt.scoring.results import ScoreTable

    rng = np.random.default_rng(0)
    labels = np.where(rng.random((images, classes)) < 0.4, 1, -1).astype(np.int8)
    labels[0] = 1
    kinds = [(labels + rng.normal(size=labels.shape)).astype(np.float32) for _ in range(3)]
    ids, names = (tuple(map(str, range(count))) for count in (images, classes))
    ScoreTable(ids, names, labels, *kinds).save(folder / "scores.npz")
