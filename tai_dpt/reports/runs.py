"""Runs on disk: what is finished, what is broken, and which differ in their seed alone."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.io.history import HISTORY_FILE, read_history
from tai_dpt.scoring.results import (
    CHANGE_NO_FIGURE,
    RESULTS_FILE,
    addition,
    concerns,
    flat_config,
    whole_results,
)

# options that change no figure, or (the seeds) are what a mean is taken over
_TELL_NOTHING_APART = CHANGE_NO_FIGURE | {"SEED", "DATASET.PARTIAL.SEED"}


@dataclass(frozen=True, eq=False)
class RunResult:
    """A whole ``results.json``."""

    folder: Path
    dataset: str  # the benchmark's name
    trainer: str
    config: str  # folders of CoOp's layout dataset/trainer/config/setting/seed; "" without
    setting: str
    seed: int
    split: str
    images: int
    mean_ap: Mapping[str, float]  # mAP in percent by prediction; those that are defined
    options: Mapping[str, Any]  # the config, flat: DATASET.NAME, …

    @property
    def backbone(self) -> str:
        """As ``MODEL.BACKBONE.NAME`` has it: a name or a file; "" where nothing is known."""
        return str(self.options.get("MODEL.BACKBONE.NAME", ""))

    @property
    def classes(self) -> str:
        """The subset of the data set's classes; "" for all."""
        return str(self.options.get("DATASET.CLASSES", ""))

    @property
    def added(self) -> str:
        """What is added to the method, as ``addition`` says; of an ensemble, to its image run."""
        return str(self.options["added"])

    @property
    def rectify(self) -> str:
        """How each image's scores were rectified; of a fusion, how its parts' were."""
        return str(self.options["TEST.RECTIFY"])

    @property
    def proportion(self) -> float:
        return float(self.options.get("DATASET.PARTIAL.PROPORTION", 1.0))

    @property
    def drawn(self) -> tuple[int, ...]:
        """The seeds it differs from others of its group by: its own, and its known labels'."""
        held_out = float(self.options.get("DATASET.HOLDOUT", 0.0))
        if self.proportion < 1 or held_out > 0:
            return self.seed, int(self.options.get("DATASET.PARTIAL.SEED", 0))
        return (self.seed,)

    @property
    def shots(self) -> int:
        """Labelled images per class; 0: all."""
        return max(0, int(self.options.get("DATASET.NUM_SHOTS", 0)))

    @property
    def captions(self) -> int:
        """Number of captions learned from; 0: all."""
        return max(0, int(self.options.get("DATASET.CORPUS.MAX_CAPTIONS", 0)))

    @property
    def modified(self) -> float:
        return (self.folder / RESULTS_FILE).stat().st_mtime


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in their seed alone; never empty."""

    runs: tuple[RunResult, ...]  # by seed
    identity: Mapping[str, Any]  # the options that tell groups apart

    @property
    def first(self) -> RunResult:
        return self.runs[0]

    def values(self, prediction: str) -> dict[tuple[int, ...], float]:
        """mAP by what the runs drew."""
        return {r.drawn: r.mean_ap[prediction] for r in self.runs if prediction in r.mean_ap}


def read_run(folder: Path, results: Mapping[str, Any]) -> RunResult:
    """The run in ``folder``, from its results as ``whole_results`` gives them."""
    trainer, options = results["trainer"], flat_config(results["config"])
    trained = dict(results.get("trained_with") or {})  # an evaluation with other options
    elsewhere = [trained.pop(key, "") for key in ("DATASET.NAME", "MODEL.BACKBONE.NAME")]
    options |= trained
    options["trained on"] = " ".join(filter(None, elsewhere))
    options["earlier options"] = ", ".join(map(str, results.get("earlier_options") or ()))
    parts = folder.absolute().parts
    place = len(parts) - 1 - parts[::-1].index(trainer) if trainer in parts else None
    below = parts[place + 1 : -1] if place is not None else ()
    layout = parts[place - 1] if place and len(below) == 2 else ""
    backbone = results.get("backbone") or {}
    hashes = str(backbone.get("sha256")).split(" + ")  # an ensemble has two
    options["images"], options["weights"] = results["images"], " + ".join(h[:8] for h in hashes)
    options["evaluated"] = _evaluated(results, options)
    options["TEST.RECTIFY"] = results.get("rectify") or options.get("TEST.RECTIFY", "none")
    fusion = results.get("fusion") or {}
    of_image_run = (fusion.get("image") or {}).get("added")
    options["added"] = of_image_run or addition(trainer, options)
    if fused := fusion.get("runs"):
        options["fused"] = ", ".join(f"{run.get('trainer')}" for run in fused)
        rules = dict.fromkeys(run.get("rectify") or "none" for run in fused)
        options["TEST.RECTIFY"] = ", ".join(rules)
        options["weights of parts"] = ", ".join(f"{weight:.2g}" for weight in fusion["weights"])
    return RunResult(
        folder=folder,
        dataset=options.get("DATASET.LABEL") or layout or results["dataset"],
        trainer=trainer,
        config=below[0] if layout else "",
        setting=below[1] if layout else "",
        seed=results["seed"],
        split=results["split"],
        images=results["images"],
        mean_ap={
            prediction: float(metrics["mAP"])
            for prediction, metrics in results["metrics"].items()
            if metrics["mAP"] is not None
        },
        options=options,
    )


def find_runs(places: Iterable[str]) -> tuple[list[RunResult], list[str]]:
    """All runs in folders, results files and patterns, and a line for all that is none.

    Raises:
        InputError: nothing at all was found.
    """
    runs: dict[Path, RunResult] = {}
    remarks: list[str] = []
    places = list(places)
    for place in places:
        matches = [place] if os.path.exists(place) else sorted(glob.glob(place, recursive=True))
        if not matches:
            remarks.append(f"missing: nothing is called {place}")
        for folder in _run_folders(matches):
            if folder.resolve() in runs:
                continue
            if not (folder / RESULTS_FILE).exists():
                remarks.append(f"unfinished: {folder} ({_progress(folder)})")
                continue
            try:
                results = whole_results(folder / RESULTS_FILE)
            except InputError as error:
                remarks.append(f"broken: {error}")
                continue
            if results["seed"] is None:
                remarks.append(f"left out: {folder} (a fusion of files that name no data set)")
                continue
            runs[folder.resolve()] = run = read_run(folder, results)
            if not run.mean_ap:
                remarks.append(f"no mAP: {folder} (no class has a positive image)")
    if not runs and all(remark.startswith("missing:") for remark in remarks):
        raise InputError(f"no run (results.json or log.txt) in {', '.join(places)}")
    return list(runs.values()), list(dict.fromkeys(remarks))


def group_runs(runs: Iterable[RunResult]) -> tuple[list[Group], list[str]]:
    """Runs that differ in their seed alone, together; and a line for every run left out.

    Options that some runs of a trainer on a dataset do not have (an older version wrote them)
    tell nothing apart. Of two runs of one seed the newer one counts.
    """
    families: dict[tuple[str, str, str], list[RunResult]] = {}
    for run in runs:
        families.setdefault((run.dataset, run.trainer, run.split), []).append(run)
    groups: list[Group] = []
    remarks: list[str] = []
    for _, family in sorted(families.items()):
        identities = [_identity(run) for run in family]
        common = set.intersection(*(set(identity) for identity in identities))
        members: dict[str, list[RunResult]] = {}
        kept: dict[str, dict[str, Any]] = {}
        for run, identity in zip(family, identities, strict=True):
            known = {key: value for key, value in sorted(identity.items()) if key in common}
            kept[repr(known)] = known
            members.setdefault(repr(known), []).append(run)
        for key, same in members.items():
            by_seed: dict[tuple[int, ...], RunResult] = {}
            for run in sorted(same, key=lambda run: run.modified):
                if (older := by_seed.get(run.drawn)) is not None:
                    remarks.append(f"left out: {older.folder} (again in {run.folder}, newer)")
                by_seed[run.drawn] = run
            groups.append(Group(tuple(by_seed[seed] for seed in sorted(by_seed)), kept[key]))
    return groups, remarks


def differences(groups: Sequence[Group], leave_out: Iterable[str] = ()) -> list[dict[str, Any]]:
    """For each group, the options in which the groups are not all alike."""
    ignored = set(leave_out)
    keys = {key for group in groups for key in group.identity if key not in ignored}
    apart = sorted(k for k in keys if len({repr(g.identity.get(k)) for g in groups}) > 1)
    return [{key: group.identity.get(key) for key in apart} for group in groups]


def _evaluated(results: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Which of a run's models was evaluated: ``final``, as a rule, or that of an epoch."""
    if "checkpoint" not in results:  # version 0.1 did not tell
        return "final"
    epoch, checkpoint = results.get("epoch"), str(results["checkpoint"] or "")
    if epoch == 0:
        return "untrained"
    chosen = "best" in Path(checkpoint).name
    final = epoch is None or chosen or epoch == options.get("OPTIM.MAX_EPOCH")
    return "final" if final else f"epoch {epoch}"


def _identity(run: RunResult) -> dict[str, Any]:
    identity = {}
    for key, value in run.options.items():
        if key in _TELL_NOTHING_APART or not concerns(key, run.trainer):
            continue
        if key.endswith(
            ("_RUN", ".INIT_WEIGHTS")
        ):  # a run of the same seed: the folder above tells which
            value = re.sub(r"/seed-?\d+/?$", "", str(value))
        identity[key] = value
    return identity


def _run_folders(matches: Iterable[str]) -> Iterable[Path]:
    """The folders of runs, finished or not, in and below ``matches``."""
    for match in matches:
        path = Path(match)
        if path.is_file():
            if path.name == RESULTS_FILE:
                yield path.parent
            continue
        for folder, subfolders, files in os.walk(path):
            subfolders.sort()
            logs = any(name.startswith("log.txt") for name in files)
            if logs or not {RESULTS_FILE, HISTORY_FILE, "console.txt"}.isdisjoint(files):
                yield Path(folder)


def _progress(folder: Path) -> str:
    """How far an unfinished run got, by its history."""
    history = folder / HISTORY_FILE
    written = [*folder.glob("log.txt*"), *([history] if history.exists() else [])]
    if not written:
        return "it stopped before its first line; see console.txt"
    minutes = int(time.time() - max(path.stat().st_mtime for path in written)) // 60
    age = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
    reached = ""
    if history.exists():  # version 0.1 wrote none
        steps = [line for line in read_history(folder) if "epochs" in line]
        reached = "before epoch 1, "
        if steps:
            reached = f"in epoch {steps[-1]['epoch']} of {steps[-1]['epochs']}, "
    return f"no {RESULTS_FILE}; {reached}log written {age} ago"
