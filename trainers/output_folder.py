"""What an output folder holds already, and whether a run may write there.

A folder's record is of one run: its ``results.json`` and checkpoints must not come to stand for
other options than those that made them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.errors import InputError, first_few
from tai_dpt.io.history import HISTORY_FILE
from tai_dpt.io.lock import alone_in
from tai_dpt.scoring.results import (
    RESULTS_FILE,
    SCORES_FILE,
    option_differences,
    whole_results,
)
from tai_dpt.toolbox import load_checkpoint
from tai_dpt.toolbox.checkpoint import BEST, EPOCH_PREFIX, LATEST, latest_checkpoint, saved_epochs
from tai_dpt.trainers.config_files import dense_of

PathLike = str | os.PathLike[str]


_REMEDY = "choose another folder, go on from it with --resume, or replace it with --overwrite"


def check_training(cfg: CfgNode, *, overwrite: bool = False, remedy: str = _REMEDY) -> None:
    """See that training by ``cfg`` may write to ``OUTPUT_DIR``.

    A run with the same options that is there is gone on with, and one that is finished is only
    tested again. One with other options is refused, unless it is to be overwritten (then it is
    removed here) or ``RESUME`` asks to go on from it. Without ``OUTPUT_DIR`` nothing is there.

    Args:
        remedy: what the user may do about it.

    Raises:
        InputError: the folder holds a run with other options.
    """
    if not cfg.OUTPUT_DIR:
        return
    folder = Path(cfg.OUTPUT_DIR)
    there = config_in(folder)
    if overwrite:
        if distributed.is_main():
            remove_run(folder)
        distributed.barrier()
        return
    if there is None:
        return
    differ = option_differences(there, cfg, trainer=cfg.TRAINER.NAME)
    if not differ:
        return
    if cfg.RESUME:
        epochs = trained_epochs(Path(cfg.RESUME))
        if epochs < cfg.OPTIM.MAX_EPOCH:
            return
        raise InputError(
            f"conflict: nothing is left to train in {cfg.RESUME} ({epochs} of "
            f"{cfg.OPTIM.MAX_EPOCH} epochs are done), and its options were others "
            f"({first_few(differ, separator='; ')}): choose another folder, or --overwrite"
        )
    raise InputError(
        f"conflict: {folder} holds a run with other options ({first_few(differ, separator='; ')}): "
        f"{remedy}"
    )


def check_evaluation(cfg: CfgNode, model: dict[str, Any], *, overwrite: bool = False) -> None:
    """See that the record of an evaluation may be written to ``OUTPUT_DIR``.

    Args:
        model: ``epoch`` and ``checkpoint`` of what is evaluated, as ``results.json`` has them.

    Raises:
        InputError: there is the record of another model, or of other options.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if overwrite or not cfg.OUTPUT_DIR or not (folder / RESULTS_FILE).is_file():
        return
    try:
        record = whole_results(folder / RESULTS_FILE)
    except InputError:  # a broken one may be replaced
        return
    differ = [
        f"{key}: {record[key]} there, {value} here"
        for key, value in model.items()
        if key in record and record[key] != value
    ]
    differ += option_differences(record["config"], cfg, trainer=cfg.TRAINER.NAME)
    if differ:
        raise InputError(
            f"conflict: {folder} holds another record ({first_few(differ, separator='; ')}): "
            "choose another folder, or replace the record with --overwrite"
        )


def keep_dense(cfg: CfgNode, run: PathLike) -> bool:
    """Where nobody chose ``DENSE``, have ``cfg`` take what a run that is there was tested with.

    Args:
        run: its folder, or one of its checkpoints.

    Returns: whether it did.
    """
    place = Path(run)
    saved = config_in(place.parent.parent if place.is_file() else place)
    if cfg.MODEL.BACKBONE.DENSE or not saved or not (dense := dense_of(saved)):
        return False
    cfg.defrost()
    cfg.MODEL.BACKBONE.DENSE = dense
    cfg.freeze()
    return True


@contextmanager
def nothing_left_if_refused(folder: PathLike) -> Iterator[None]:
    """Hold the folder, which is made. Where the block refuses its input and wrote no more than
    logs, these go, and the folders that were made for them.

    Raises:
        InputError: another process holds it.
    """
    folder = Path(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    with suppress(OSError):  # the log complains
        folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder) as alone:
        if not alone:
            raise InputError(
                f"another process is at work in {folder}: wait for it, or choose another "
                "--output-dir"
            )
        with _nothing_new_if_refused(folder, missing):
            yield


@contextmanager
def _nothing_new_if_refused(folder: Path, missing: Sequence[Path]) -> Iterator[None]:
    before, folders = _state(folder), _folders(folder)
    try:
        yield
    except InputError:
        new = [path for path, written in _state(folder).items() if before.get(path) != written]
        if all(path.name.startswith("log.txt") for path in new):
            for path in new:
                path.unlink()
            inside = sorted(_folders(folder) - folders, reverse=True)  # the deepest first
            for place in (*inside, *missing):
                with suppress(OSError):
                    place.rmdir()
        raise


def _folders(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_dir()}


def _state(folder: Path) -> dict[Path, int]:
    """When each file of a run's folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def config_in(folder: Path) -> dict[str, Any] | None:
    """The config of the run in a folder, finished or not; None where there is none to be read."""
    with suppress(InputError):
        config: dict[str, Any] = whole_results(folder / RESULTS_FILE)["config"]
        return config
    for pointer in sorted(folder.glob(f"*/{LATEST}")):
        with suppress(InputError):
            path = latest_checkpoint(pointer.parent)
            if path is not None:
                kept = load_checkpoint(path).get("config")
                if isinstance(kept, dict) and kept:  # version 0.1 kept none
                    return kept
    return None


def trained_epochs(folder: Path) -> int:
    """How many epochs the latest checkpoint in a run's folder has seen; 0 without one."""
    for pointer in sorted(folder.glob(f"*/{LATEST}")):
        path = latest_checkpoint(pointer.parent)
        if path is not None and path.is_file():
            return int(load_checkpoint(path).get("epoch", 0))
    return 0


def remove_run(folder: Path) -> None:
    """Remove a run's checkpoints, history and record; its logs stay."""
    for name in (RESULTS_FILE, SCORES_FILE, HISTORY_FILE):
        (folder / name).unlink(missing_ok=True)
    for pointer in folder.glob(f"*/{LATEST}"):
        place = pointer.parent
        names = [LATEST, BEST, *(f"{EPOCH_PREFIX}{epoch}" for epoch in saved_epochs(place))]
        for name in names:
            (place / name).unlink(missing_ok=True)
