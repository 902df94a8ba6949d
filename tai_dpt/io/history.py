"""``history.jsonl``: what happened in training, a line of JSON a step.

A line of a training step holds ``epoch`` and ``step`` (both from 1, the step counted over the
whole run), ``epochs``, ``steps`` (of the whole run), the losses by name, ``lr`` and ``seconds``
of training so far. After an epoch that was evaluated there is a line with ``epoch``, ``step``,
``split``, ``mAP`` and ``seconds``. Curves and reports read this file, never a log.
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write, open_named
from tai_dpt.io.opening import open_file
from tai_dpt.io.reading import parse_json

HISTORY_FILE = "history.jsonl"

PathLike = str | os.PathLike[str]


class History:
    """Appends to ``folder``/history.jsonl; a line is on disk once ``write`` returns.

    A run that goes on writes no line twice: what the file, or that of the run it goes on from,
    says of later epochs is dropped first.
    """

    def __init__(self, folder: PathLike, *, epochs_done: int = 0, source: PathLike = "") -> None:
        """
        Args:
            folder: the run's output folder.
            epochs_done: of a run that goes on; 0 starts a new file.
            source: the folder of the run it goes on from, if not ``folder``.
        """
        path = Path(folder) / HISTORY_FILE
        kept = [line for line in read_history(source or folder) if line["epoch"] <= epochs_done]
        with atomic_write(path, "w", encoding="utf-8") as stream:
            stream.writelines(_as_line(line) for line in kept)
        before = kept[-1].get("seconds") if kept else 0.0
        self._start = time.monotonic() - float(before or 0.0)
        self._stream = open_named(path, "a", encoding="utf-8", line_buffering=True)

    def seconds(self) -> float:
        """Of training so far, the run it goes on from included."""
        return round(time.monotonic() - self._start, 3)

    def write(self, *, seconds: float | None = None, **values: Any) -> None:
        """Add a line; numbers that are not finite become null.

        Args:
            seconds: of training when it happened; now when None.
        """
        seconds = self.seconds() if seconds is None else seconds
        self._stream.write(_as_line({**values, "seconds": seconds}))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_history(folder: PathLike) -> list[dict[str, Any]]:
    """The lines of ``folder``/history.jsonl in order; empty where there is none.

    A line that was cut off, or is no such record, is left out.
    """
    path = Path(folder) / HISTORY_FILE
    if not path.exists():
        return []
    with open_file(path) as stream:
        text = stream.read().decode("utf-8", errors="replace")
    found = []
    for line in text.split("\n"):
        with suppress(InputError):
            record = parse_json(line, where=HISTORY_FILE)
            if _is_record(record):
                found.append(record)
    return found


def _is_record(record: Any) -> bool:
    """Numbers by name, and which split; the numbers of an epoch and a step."""
    return (
        isinstance(record, dict)
        and all(type(record.get(name)) is int for name in ("epoch", "step"))
        and isinstance(record.get("split", ""), str)
        and all(
            value is None or (isinstance(value, int | float) and math.isfinite(value))
            for name, value in record.items()
            if name != "split"
        )
    )


def _as_line(record: dict[str, Any]) -> str:
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return json.dumps(plain) + "\n"
