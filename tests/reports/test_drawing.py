"""Names in plots are text, whatever they hold."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tai_dpt.errors import InputError
from tai_dpt.reports.corpus_plots import draw_corpus
from tai_dpt.reports.drawing import save_figure
from tai_dpt.reports.figures import draw as draw_figure
from tai_dpt.reports.heatmaps import CaptionExplanation, ImageExplanation, draw, heat_ramp, shade
from tai_dpt.reports.rows import Row, Table
from tai_dpt.reports.statistics import Cell

TEX = r"costs $\no{such$ _^"


def test_dollar_signs_are_no_tex(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    heat = np.arange(4.0).reshape(1, 2, 2)
    image = ImageExplanation(
        TEX, Image.new("RGB", (40, 40)), (TEX,), heat, np.array([0.5]), "similarity"
    )
    caption = CaptionExplanation(
        (TEX, "dog"), (TEX,), np.array([[0.1], [0.2]]), np.array([0.3]), TEX
    )
    save_figure(draw([image], [caption]), tmp_path / "explain.png", dpi=50)
    draw_corpus(tmp_path, np.eye(2, dtype=np.uint8), [TEX, "dog"])
    row = Row(TEX, (Cell((1.0,)),))
    table = Table("figure 6", TEX, TEX, (TEX,), (row,))
    draw_figure([table], tmp_path / "figure.svg", ci95=False)
    assert all(path.stat().st_size for path in tmp_path.iterdir())
    assert dict(matplotlib.rcParams) == before


def test_other_kinds_of_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown picture type 'gif'; valid: png, pdf, svg"):
        save_figure(matplotlib.figure.Figure(), tmp_path / "x.gif", dpi=50)
    assert not list(tmp_path.iterdir())


def test_the_scales_of_pages_have_the_colours_of_the_pictures() -> None:
    css = (resources.files("tai_dpt.reports") / "templates/base.css").read_text()
    ramp = np.asarray(heat_ramp())[0]
    drawn = {
        "heat": [to_hex(ramp[i] / 255) for i in (0, 64, 128, 191, 255)],
        "shade": [shade(strength, 0, 1)[0] for strength in (0, 0.25, 0.5, 0.75, 1)],
    }
    for name, colors in drawn.items():
        (stops,) = re.findall(rf"\.scale\.{name} {{ background: .*?deg, (.*?)\)", css)
        assert stops.split(", ") == colors
