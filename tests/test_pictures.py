"""The README's pictures are those that its commands draw."""

from __future__ import annotations

import shlex

import matplotlib
import numpy as np
import pytest
from packaging.version import Version
from PIL import Image

from places import ROOT, TESTS
from taggers import run

TOUR = (ROOT / "scripts/tour.sh").read_text().replace("\\\n", " ")
WORLD = "data/emoji_scenes"


@pytest.mark.skipif(
    Version(matplotlib.__version__) < Version("3.11"), reason="older versions set text otherwise"
)
@pytest.mark.parametrize("name", ["where", "words"])
def test_the_tour_draws_the_pictures_of_the_readme(name, tmp_path, monkeypatch):
    """With the tagger that the tour fits, kept in ``tests/reference``."""
    assert f"(docs/{name}.png)" in (ROOT / "README.md").read_text()
    monkeypatch.chdir(ROOT)
    drawn = tmp_path / f"{name}.png"
    (command,) = (line for line in TOUR.splitlines() if f"{name}.png" in line)
    command = command.removeprefix("run ")
    command = command.replace("$OUT/tagger", str(TESTS / "reference/tour_tagger"))
    command = command.replace("$world", WORLD).replace("$OUT", str(tmp_path))
    code, _, err = run(*shlex.split(command), "--backbone", "emoji_scenes")
    assert code == 0, err
    with Image.open(drawn) as ours, Image.open(ROOT / f"docs/{name}.png") as shown:
        assert ours.size == shown.size
        pair = [np.asarray(image.convert("RGB"), int) for image in (ours, shown)]
    differing = (np.abs(pair[0] - pair[1]).max(-1) > 40).mean()
    assert differing < 0.001  # another word in a label is more; rounding is less
