"""A finished run opened again: its data, its captions and its model, as far as they are there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from tai_dpt.errors import InputError

_OF_CAPTIONS = ("TaIDPT", "Concepts", "CoMC")  # what learns from them


@dataclass(frozen=True)
class ReopenedRun:
    """What could be opened again of a run: its data, and its model where there is one."""

    paths: dict[str, str]  # image id -> file
    corpus: Any  # LabelledCorpus, None where the method learned from no captions
    tagger: Any  # PromptTagger for heat maps, None where there is no local prompt


def reopen_run(run: Path, results: dict[str, Any], root: Path | None) -> tuple[ReopenedRun, str]:
    """What of the run can be opened again, and what not and why.

    A run whose model cannot be opened, or that has none (a fusion), still has its images.
    """
    dataset = tagger = None
    missing = []
    try:
        cfg = _config_of(results, root)
        if "fusion" in results:
            missing.append("heat maps (a fusion has no prompt of its own)")
        else:
            try:
                trainer = _trainer_of(run, cfg)
                dataset = trainer.dataset
                tagger, why = _tagger_of(trainer, results)
                missing += [why] if why else []
            except (InputError, OSError) as error:
                missing.append(f"heat maps ({error})")
        if dataset is None:
            dataset = _dataset_of(cfg)
        split = dataset.images(results["split"])
        learned = results["trainer"] in _OF_CAPTIONS and cfg.DATASET.CORPUS.FILES
        corpus = dataset.corpus if learned else None
    except (InputError, OSError) as error:
        return ReopenedRun({}, None, None), f"images and the corpus ({error})"
    paths = dict(zip(split.ids, split.paths, strict=True))
    return ReopenedRun(paths, corpus, tagger), "; ".join(missing)


def _config_of(results: dict[str, Any], root: Path | None) -> CfgNode:
    from tai_dpt.toolbox import get_cfg_default
    from tai_dpt.trainers import extend_cfg
    from tai_dpt.trainers.config_files import restore

    if not results["config"] or results["split"] is None:
        raise InputError("it does not say which data set it is of")
    cfg = get_cfg_default()
    extend_cfg(cfg)
    restore(cfg, results["config"])
    if root is not None:
        cfg.DATASET.ROOT = str(root)
    return cfg


def _dataset_of(cfg: CfgNode) -> Any:
    import tai_dpt.datasets  # noqa: F401  (registers them)
    from tai_dpt.toolbox import build_dataset, logging_to

    with logging_to(None, echo=False):
        return build_dataset(cfg)


def _trainer_of(run: Path, cfg: CfgNode) -> Any:
    """The run's trainer with its final model, silently."""
    import tai_dpt.datasets  # noqa: F401  (registers them)
    from tai_dpt.toolbox import build_trainer, logging_to

    cfg = cfg.clone()
    with logging_to(None, echo=False), tempfile.TemporaryDirectory() as scratch:
        cfg.OUTPUT_DIR = scratch
        cfg.freeze()
        trainer = build_trainer(cfg)
        if trainer.get_model_names():
            trainer.load_model(str(run))
    return trainer


def _tagger_of(trainer: Any, results: dict[str, Any]) -> tuple[Any, str]:
    """What draws heat maps, and why there is none."""
    from tai_dpt.tagger.tagger import PromptTagger

    learned = trainer.learned()
    if learned is None:
        return None, f"heat maps ({results['trainer']} has no local prompt to draw)"
    if trainer.backbone.weights_hash != (results.get("backbone") or {}).get("sha256"):
        return None, "heat maps (the backbone's weights have changed since the run)"
    if not trainer.backbone.image.has_places:
        return None, f"heat maps ({trainer.backbone.name} has no features of places in an image)"
    tagger = PromptTagger(
        backbone=trainer.backbone,
        class_names=trainer.dataset.classnames,
        embeddings=learned.tensors,
        contexts={},
        method=learned.method,
        scoring=learned.scoring,
        preprocessing=trainer.preprocessing,
    )
    return tagger, ""
