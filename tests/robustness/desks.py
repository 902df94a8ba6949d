"""What commands read, for the tests that try bad inputs and outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from places import TESTS


def lay_out(folder: Path) -> None:
    """A tagger, a run of 40 images, a class list and captions."""
    shutil.copytree(TESTS / "reference/v0.1/tagger", folder / "tagger")
    shutil.copytree(TESTS / "reference/v0.1/run", folder / "run")
    results = json.loads((folder / "run/results.json").read_text())
    (folder / "run/results.json").write_text(json.dumps({**results, "images": 40}))
    (folder / "classes.txt").write_text("dog\ncar\n")
    (folder / "captions.txt").write_text("a dog\na car\n" * 50)
