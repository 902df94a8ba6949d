"""Names in plots are text, whatever they hold."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
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


def test_long_names_and_many_classes_do_not_overlap() -> None:
    names = ("W" * 150, "a tall brown horse in a wide green field", "dog", *"abcdefghijk")
    heat = np.zeros((len(names), 2, 2))
    image = ImageExplanation(
        *("a.jpg", Image.new("RGB", (40, 30)), names, heat, np.full(len(names), 0.5), "similarity")
    )
    words = ("o" * 200, "dog")
    caption = CaptionExplanation(words, names[:2], np.ones((2, 2)), np.ones(2), "text")
    figure = draw([image], [caption])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    above, below = figure.subfigs
    renderer = canvas.get_renderer()
    titles = [axis.title for axis in above.axes if axis.title.get_text()]
    boxes = [title.get_window_extent(renderer) for title in titles]
    assert len(boxes) == 1 + len(names) and boxes[2].width > 30  # as much as there is room for
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    (table,) = (axis for axis in below.axes if len(axis.texts) > 8)
    right = [text.get_window_extent(renderer).x1 for text in table.texts]
    assert max(right) <= figure.bbox.x1


@pytest.mark.filterwarnings("error")
def test_a_corpus_of_long_names_leaves_room_for_its_bars(tmp_path: Path) -> None:
    draw_corpus(tmp_path, np.eye(2, dtype=np.uint8), ["W" * 100, "dog"])


def test_characters_that_no_font_has_are_one_warning(tmp_path: Path) -> None:
    figure = matplotlib.figure.Figure()
    figure.suptitle("\U0003fffd \U0003fffc")  # nobody's
    with pytest.warns(UserWarning) as told:
        save_figure(figure, tmp_path / "a.png", dpi=50)
    (only,) = (str(warning.message) for warning in told)
    assert only.startswith("no font here has \U0003fffd, \U0003fffc, drawn as boxes: install one")


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
