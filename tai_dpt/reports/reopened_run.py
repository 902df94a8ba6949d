"""A finished run opened again: its data, its captions and its model, as far as they are there."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError


@dataclass(frozen=True)
class ReopenedRun:
    """What could be opened again of a run: its data, and its model where there is one."""

    paths: dict[str, str]  # image id -> file
    corpus: Any  # LabelledCorpus, None where the method learned from no captions
    tagger: Any  # PromptTagger for heat maps, None where there is no local prompt


def reopen_run(run: Path, results: dict[str, Any], root: Path | None) -> tuple[ReopenedRun, str]:
    """What of the run can be opened again, and what not and why."""
    missing = []
    tagger = corpus = None
    paths: dict[str, str] = {}
    try:
        trainer = _trainer_of(run, results, root)
    except (InputError, OSError) as error:
        return ReopenedRun({}, None, None), f"images and the corpus ({error})"
    split = trainer.images[results["split"]]
    paths = dict(zip(split.ids, split.paths, strict=True))
    if trainer.cfg.DATASET.CORPUS.FILES and results["trainer"] == "TaIDPT":
        corpus = trainer.dataset.corpus
    embeddings = _local_embeddings(trainer)
    if embeddings is None:
        missing.append(f"heat maps ({results['trainer']} has no local prompt to draw)")
    elif trainer.backbone.weights_hash != (results.get("backbone") or {}).get("sha256"):
        missing.append("heat maps (the backbone's weights have changed since the run)")
    else:
        tagger = _tagger_of(trainer, embeddings)
    return ReopenedRun(paths, corpus, tagger), "; ".join(missing)


def _trainer_of(run: Path, results: dict[str, Any], root: Path | None) -> Any:
    """The run's trainer with its final model, silently."""
    import tai_dpt.datasets  # noqa: F401  (registers them)
    from tai_dpt.toolbox import build_trainer, get_cfg_default
    from tai_dpt.trainers import extend_cfg
    from tai_dpt.trainers.config_files import restore

    cfg = get_cfg_default()
    extend_cfg(cfg)
    restore(cfg, results["config"])
    if root is not None:
        cfg.DATASET.ROOT = str(root)
    with _silent(), tempfile.TemporaryDirectory() as scratch:
        cfg.OUTPUT_DIR = scratch
        cfg.freeze()
        trainer = build_trainer(cfg)
        if trainer.get_model_names():
            trainer.load_model(str(run))
    return trainer


def _local_embeddings(trainer: Any) -> Any:
    """Local class embeddings (C, D); None where the method has none, or not just one."""
    import torch

    if hasattr(trainer, "embeddings"):
        return trainer.embeddings
    if "local" not in getattr(getattr(trainer, "model", None), "names", ()):
        return None
    with torch.no_grad():
        return trainer.model()["local"]


def _tagger_of(trainer: Any, embeddings: Any) -> Any:
    from tai_dpt.tagger.tagger import PromptTagger

    return PromptTagger(
        backbone=trainer.backbone,
        class_names=trainer.dataset.classnames,
        embeddings={"global": embeddings, "local": embeddings},
        contexts={},
        preprocessing=trainer.preprocessing,
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield
