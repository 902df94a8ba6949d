"""What an evaluation leaves on disk: ``scores.npz`` and ``results.json``.

Reports and ensembles are computed from these two, never by scraping logs.
"""

from __future__ import annotations

import json
import math
import os
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tai_dpt
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write

SCORES_FILE = "scores.npz"
RESULTS_FILE = "results.json"


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
        return getattr(self, "global_" if prediction == "global" else prediction)

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
            InputError: there is none, it is damaged, or it lacks a part.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                parts = {name: archive[name] for name in archive.files}
            return cls(
                ids=tuple(parts["ids"].tolist()),
                class_names=tuple(parts["class_names"].tolist()),
                labels=parts["labels"],
                global_=parts["global"],
                local=parts["local"],
                merged=parts["merged"],
            )
        except FileNotFoundError:
            raise InputError(f"{path}: no such score file; an evaluation writes it") from None
        except KeyError as error:
            raise InputError(f"{path}: not a score file, it lacks {error}") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: cannot be read as a score file ({error}); evaluate the run again"
            ) from None


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
    """Write ``results.json``; NaN becomes null, which every JSON reader takes."""
    with atomic_write(path, "w", encoding="utf-8") as stream:
        json.dump(_without_nan(results), stream, indent=1, ensure_ascii=False)
        stream.write("\n")


def load_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``results.json``.

    Raises:
        InputError: there is none, or it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; an evaluation writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); evaluate the run again") from None


def whole_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A ``results.json`` that has all that a report reads.

    Raises:
        InputError: there is none, it is truncated, or something is missing in it.
    """
    results = load_results(path)
    if not isinstance(results, dict):
        raise InputError(f"{path}: not the results of an evaluation")
    kinds = {"trainer": str, "dataset": str, "split": str, "seed": int, "images": int}
    kinds |= {"metrics": dict, "config": dict}
    for name, kind in kinds.items():
        if not isinstance(results.get(name), kind):
            raise InputError(f"{path}: incomplete, it lacks '{name}'; evaluate the run again")
    for prediction, metrics in results["metrics"].items():
        if not isinstance(metrics, dict) or "mAP" not in metrics:
            raise InputError(f"{path}: incomplete, it lacks the mAP of '{prediction}'")
    return results


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


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
