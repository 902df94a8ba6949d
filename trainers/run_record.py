"""What a test leaves in the output folder: scores.npz and results.json."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tai_dpt.scoring.results import RESULTS_FILE, SCORES_FILE, ScoreTable, save_results, versions
from tai_dpt.toolbox import TOOLBOX

if TYPE_CHECKING:
    from tai_dpt.trainers.multilabel import MultiLabelTrainer


def write_results(trainer: MultiLabelTrainer, split: str, *, threshold_source: str) -> None:
    """The scores of the images that ``trainer`` has just evaluated, and what they came from.

    Nothing where it keeps no files, as on the ranks but the first.
    """
    if not trainer.keeps_files:
        return
    images, evaluator, cfg = trainer.images[split], trainer.evaluator, trainer.cfg
    table = ScoreTable(
        ids=images.ids,
        class_names=tuple(trainer.dataset.classnames),
        labels=evaluator.labels.astype(np.int8),
        global_=evaluator.scores("global"),
        local=evaluator.scores("local"),
        merged=evaluator.scores("merged"),
    )
    trained_with = trainer.trained_with()
    results = {
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "split": split,
        "seed": trained_with.get("SEED", cfg.SEED),
        **trainer.model_record(),
        "images": len(images),
        "images_skipped": len(trainer.listed[split]) - len(images),
        "prediction": cfg.TEST.PREDICTION,
        "rectify": cfg.TEST.RECTIFY,
        "softmax_sharpness": trainer.softmax_sharpness(),
        "mAP": evaluator.results[cfg.TEST.PREDICTION].mAP,
        "metrics": {name: result.as_dict() for name, result in evaluator.results.items()},
        "threshold_source": threshold_source,
        "unknown_labels": "ignored" if evaluator.ignore_unknown else "negatives",
        "class_names": list(trainer.dataset.classnames),
        "backbone": trainer.backbone_identity(),
        "preprocessing": trainer.preprocessing_facts(),
        "versions": versions(),
        "toolbox": TOOLBOX,
        "config": plain_config(cfg),
        **({"trained_with": trained_with} if trained_with else {}),
        **({"earlier_options": list(earlier)} if (earlier := trainer.earlier_options) else {}),
        **trainer.extra_results(),
    }
    table.save(os.path.join(trainer.output_dir, SCORES_FILE))
    save_results(os.path.join(trainer.output_dir, RESULTS_FILE), results)


def plain_config(node: Any) -> Any:
    """A configuration as plain dictionaries, the form that JSON takes."""
    if isinstance(node, dict):
        return {key: plain_config(value) for key, value in node.items()}
    return list(node) if isinstance(node, tuple) else node
