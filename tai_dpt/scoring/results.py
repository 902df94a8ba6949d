"""What an evaluation leaves on disk: ``scores.npz`` and ``results.json``.

Reports and ensembles are computed from these two, never by scraping logs.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

import tai_dpt
from tai_dpt.errors import InputError
from tai_dpt.io.arrays import ArraySpec, read_npz
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.json_text import json_document
from tai_dpt.io.reading import Count, Finite, Fraction, Names, OpenRecord, checked, read_json

SCORES_FILE = "scores.npz"
RESULTS_FILE = "results.json"
_AGAIN = "evaluate the run again"

Kind = Literal["merged", "global", "local"]
_SCORES = {
    "ids": ArraySpec("U", ("images",)),
    "class_names": ArraySpec("U", ("classes",)),
    "labels": ArraySpec("iu", ("images", "classes")),
    **{kind: ArraySpec("f", ("images", "classes")) for kind in get_args(Kind)},
}

# options that change no figure
CHANGE_NO_FIGURE = frozenset(
    (
        *("OUTPUT_DIR", "RESUME", "VERBOSE", "VERSION", "USE_CUDA"),
        *("DATASET.ROOT", "DATASET.LABEL", "DATASET.RECIPE"),
        *("FEATURES.CACHE", "FEATURES.DIR", "FEATURES.MAX_GB"),
        *("DATALOADER.NUM_WORKERS", "DATALOADER.TEST.BATCH_SIZE"),
        *("TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ"),
        *("TEST.PER_CLASS_RESULT", "TEST.PREDICTION"),
    )
)


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one evaluation over ``n`` images and ``C`` classes."""

    ids: tuple[str, ...]  # n image ids
    class_names: tuple[str, ...]
    labels: NDArray[np.int8]  # (n, C): 1 present, -1 absent, 0 unknown or difficult
    global_: NDArray[np.float32]  # (n, C)
    local: NDArray[np.float32]  # (n, C)
    merged: NDArray[np.float32]  # (n, C)

    def of(self, prediction: str) -> NDArray[np.float32]:
        """The scores called ``merged``, ``global`` or ``local``."""
        name = "global_" if prediction == "global" else prediction
        scores: NDArray[np.float32] = getattr(self, name)
        return scores

    def save(self, path: str | os.PathLike[str]) -> None:
        parts: dict[str, Any] = {
            "ids": np.array(self.ids, dtype=np.str_),
            "class_names": np.array(self.class_names, dtype=np.str_),
            "labels": self.labels,
            "global": self.global_,
            "local": self.local,
            "merged": self.merged,
        }
        with atomic_write(path) as stream:
            np.savez(stream, **parts)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ScoreTable:
        """Read a score file.

        Raises:
            InputError: there is none, it is damaged, or its parts do not fit one another.
        """
        parts = read_npz(path, _SCORES, remedy=_AGAIN)
        if not len(parts["ids"]):
            raise InputError(f"{path}: it holds no images; {_AGAIN}")
        for name in ("ids", "class_names"):
            values, counts = np.unique(parts[name], return_counts=True)
            if (counts > 1).any():
                raise InputError(
                    f"{path}: '{values[counts > 1][0]}' is twice in '{name}'; {_AGAIN}"
                )
        if not np.isin(parts["labels"], (-1, 0, 1)).all():
            raise InputError(f"{path}: 'labels' holds more than -1, 0 and 1; {_AGAIN}")
        return cls(
            ids=tuple(parts["ids"].tolist()),
            class_names=tuple(parts["class_names"].tolist()),
            labels=parts["labels"],
            global_=parts["global"],
            local=parts["local"],
            merged=parts["merged"],
        )


def versions() -> dict[str, str]:
    """The versions a figure depends on."""
    import torch  # here, so that reports, which only read results, do not wait for it

    return {
        "tai_dpt": tai_dpt.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def save_results(path: str | os.PathLike[str], results: dict[str, Any]) -> None:
    """Write ``results.json``; NaN becomes null, which every JSON reader takes, and what is no text
    in the names of files becomes �."""
    text = json_document(results)
    with atomic_write(path, "w", encoding="utf-8") as stream:
        stream.write(f"{text}\n")


class _FusedRun(OpenRecord):
    """What a fusion's results say of one of its runs."""

    scores: str
    trainer: str | None = None
    rectify: str | None = None
    added: str | None = None


class _Fusion(OpenRecord):
    """How runs were fused: an ensemble has a weight, of its image run, a fusion one of each."""

    normalise: str
    weight: Finite = 0.0
    weight_source: str = ""
    text: _FusedRun = _FusedRun(scores="")
    image: _FusedRun = _FusedRun(scores="")
    weights: tuple[Finite, ...] = ()
    runs: tuple[_FusedRun, ...] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> _Fusion:
        ensemble = ("weight", "weight_source", "text", "image")
        said = self.model_fields_set
        for name in ensemble if said.intersection(ensemble) else ("weights", "runs"):
            if name not in said:
                raise ValueError(f"it lacks '{name}'")
        if len(self.weights) != len(self.runs):
            raise ValueError(f"{len(self.weights)} weights for {len(self.runs)} runs")
        return self


class Results(OpenRecord):
    """What ``results.json`` may say; a fusion of bare score files says little."""

    trainer: str | None = None
    dataset: str | None = None
    split: str | None = None
    seed: int | None = None
    images: Count | None = None
    prediction: Kind | None = None
    metrics: dict[str, dict[str, Any]] | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    backbone: dict[str, str | None] | None = None
    class_names: Names | None = None
    fusion: _Fusion | None = None
    trained_with: dict[str, Any] = Field(default_factory=dict)
    earlier_options: tuple[dict[str, Any], ...] = ()


class _Metrics(OpenRecord):
    mAP: Finite | None  # None: no class has a positive image


class _Options(OpenRecord):
    """What a report reads of a run's config, flat."""

    label: str = Field("", alias="DATASET.LABEL")
    classes: str = Field("", alias="DATASET.CLASSES")
    shots: int = Field(-1, alias="DATASET.NUM_SHOTS")
    proportion: Fraction = Field(1.0, alias="DATASET.PARTIAL.PROPORTION")
    captions: int = Field(0, alias="DATASET.CORPUS.MAX_CAPTIONS")
    backbone: str = Field("", alias="MODEL.BACKBONE.NAME")
    rectify: str = Field("none", alias="TEST.RECTIFY")


class WholeResults(Results):
    """What a report reads."""

    trainer: str
    dataset: str
    split: str
    seed: int
    images: Count
    metrics: dict[str, _Metrics]  # type: ignore[assignment]
    config: dict[str, Any]


class _WholeFusion(WholeResults):
    """Of a fusion of score files that no results stand beside nobody knows what they are of."""

    dataset: str | None  # type: ignore[assignment]
    split: str | None  # type: ignore[assignment]
    seed: int | None  # type: ignore[assignment]


class _F1(OpenRecord):
    of1: Finite | None
    cf1: Finite | None


class _AllMetrics(_Metrics):
    per_class_ap: tuple[Finite | None, ...]
    threshold: Finite | None
    f1: _F1


class _Backbone(OpenRecord):
    name: str
    sha256: str


class PageResults(WholeResults):
    """What a page of a run reads."""

    split: Literal["val", "test"]
    prediction: Kind
    metrics: dict[Kind, _AllMetrics]  # type: ignore[assignment]
    class_names: Names
    threshold_source: str
    backbone: _Backbone | None = None  # type: ignore[assignment]
    versions: dict[str, str]
    preprocessing: dict[str, Any] | None = None
    toolbox: str


class _PageFusion(PageResults):
    dataset: str | None  # type: ignore[assignment]
    seed: int | None  # type: ignore[assignment]
    split: Literal["val", "test"] | None  # type: ignore[assignment]
    toolbox: str | None = None  # type: ignore[assignment]


def load_results(
    path: str | os.PathLike[str],
    kind: type[Results] = Results,
    *,
    of_fusion: type[Results] | None = None,
) -> dict[str, Any]:
    """Read ``results.json``.

    Args:
        of_fusion: what a fusion's must be, in place of ``kind``.

    Raises:
        InputError: there is none, it is not JSON, or it is not what ``kind`` says.
    """
    if not os.path.lexists(path):
        raise InputError(f"{path}: no such file; an evaluation writes it")
    content: dict[str, Any] = read_json(path, remedy=_AGAIN)
    if of_fusion and isinstance(content, dict) and "fusion" in content:
        kind = of_fusion
    checked(kind, content, where=str(path), remedy=_AGAIN)
    if issubclass(kind, WholeResults):
        options = flat_config(content["config"])
        checked(_Options, options, where=f"{path}: config", remedy=_AGAIN)
    return content


def whole_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A ``results.json`` that has all that a report reads; errors as in ``load_results``."""
    return load_results(path, WholeResults, of_fusion=_WholeFusion)


def run_files(run: Path) -> list[Path]:
    """What is read of a run, named by its folder or by its ``scores.npz``."""
    scores = run / SCORES_FILE if run.is_dir() else run
    return [scores, scores.with_name(RESULTS_FILE)]


def page_results(folder: Path) -> tuple[dict[str, Any], ScoreTable]:
    """Both files of a run, which must be of one evaluation; errors as in ``load_results``."""
    path = folder / RESULTS_FILE
    results = load_results(path, PageResults, of_fusion=_PageFusion)
    table = ScoreTable.load(folder / SCORES_FILE)
    if results["prediction"] not in results["metrics"]:
        raise InputError(f"{path}: 'metrics' lacks '{results['prediction']}'; {_AGAIN}")
    if tuple(results["class_names"]) != table.class_names or results["images"] != len(table.ids):
        raise InputError(
            f"{path} and {SCORES_FILE} are of other classes or images: of two evaluations; {_AGAIN}"
        )
    for name, metrics in results["metrics"].items():
        if len(metrics["per_class_ap"]) != len(table.class_names):
            raise InputError(
                f"{path}: 'metrics.{name}.per_class_ap' has {len(metrics['per_class_ap'])} entries "
                f"for {len(table.class_names)} classes; {_AGAIN}"
            )
    return results, table


def flat_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by their dotted names.

    >>> flat_config({"OPTIM": {"LR": 0.1}, "SEED": 1})
    {'OPTIM.LR': 0.1, 'SEED': 1}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        flat |= flat_config(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return flat


def trained_options(results: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options, flat, with those of training as its model had them.

    >>> trained_options({"config": {"SEED": 2}, "trained_with": {"SEED": 1}})
    {'SEED': 1}
    """
    return flat_config(results.get("config") or {}) | (results.get("trained_with") or {})


def option_differences(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], *, trainer: str
) -> list[str]:
    """``KEY: theirs there, ours here`` for each option that can change a figure of ``trainer``.

    Options of other trainers are left out, and those that only one of the two configs has, as
    another version wrote it.

    Args:
        theirs: the nested config of the run that is there.
        ours: of the run that is asked for.
    """
    one, two = flat_config(theirs), flat_config(ours)
    return [
        f"{key}: {_shown(one[key])} there, {_shown(value)} here"
        for key, value in two.items()
        if key in one and key not in CHANGE_NO_FIGURE and concerns(key, trainer)
        if not same_value(one[key], value)
    ]


def concerns(key: str, trainer: str) -> bool:
    """Whether an option is no other trainer's."""
    others = key.startswith("TRAINER.") and key.count(".") > 1
    return not others or key.startswith(f"TRAINER.{trainer.upper()}.")


def addition(trainer: str | None, options: Mapping[str, Any]) -> str:
    """What a run's scores have beside its trainer's method; "" where there is nothing.

    Args:
        options: its config, flat.

    >>> addition("TaIDPT", {"TRAINER.TAIDPT.CONCEPTS": True})
    'concepts'
    """
    node = f"TRAINER.{str(trainer).upper()}"
    if options.get(f"{node}.CONCEPTS") is True:
        return "concepts"
    many = trainer == "ZSCLIP" and options.get(f"{node}.TEMPLATE") == "imagenet"
    return "80 templates" if many else ""


def same_value(one: Any, two: Any) -> bool:
    """Whether an option is set alike in two configs, however they were written."""
    one, two = (list(v) if isinstance(v, tuple) else v for v in (one, two))
    return one == two or str(one) == str(two)  # version 0.1 wrote numbers as text here and there


def _shown(value: Any) -> str:
    text = "''" if value == "" else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
