"""``tai-dpt explain``: images of where a class is."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from tai_dpt.reports.heatmaps import overlay, shade

from taggers import new_tagger, photo, run


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    new_tagger(folder).save(folder / "tagger")
    photo(folder / "a.png", seed=1)
    Image.new("RGB", (20_000, 30), "green").save(folder / "panorama.png")
    return folder


def test_png_and_html(desk, tmp_path) -> None:
    arguments = (
        *("explain", desk / "tagger", desk / "a.png", desk / "panorama.png"),
        *("--class", "dog", "--class", "car", "--text", "a dog <b> & a car"),
    )
    code, _, err = run(*arguments, "--out", tmp_path / "why.png")
    assert code == 0, err
    assert Image.open(tmp_path / "why.png").width > 800
    code, _, err = run(*arguments, "--out", tmp_path / "why.html")
    assert code == 0, err
    page = (tmp_path / "why.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert len(re.findall("<img ", page)) == len(re.findall('alt="[^"]+"', page)) == 6
    assert "&lt;" in page
    assert "<b>" not in page


def test_words_as_a_table_and_as_json(desk) -> None:
    arguments = ("explain", desk / "tagger", "--text", "a dog by a car", "--class", "dog")
    code, out, _ = run(*arguments)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:7]] == ["a", "dog", "by", "a", "car"]
    _, out, _ = run(*arguments, desk / "a.png", "--json")
    content = json.loads(out)
    assert content["captions"][0]["words"] == ["a", "dog", "by", "a", "car"]
    heat = np.array(content["images"][0]["classes"][0]["heat"])
    assert heat.ndim == 2
    assert np.abs(heat).max() <= 1


def test_without_a_class_the_likeliest_are_shown(desk) -> None:
    _, out, _ = run("explain", desk / "tagger", desk / "a.png", "--json")
    assert len(json.loads(out)["images"][0]["classes"]) == 3


def test_wrong_arguments(desk, tmp_path) -> None:
    base = ("explain", desk / "tagger")
    image = desk / "a.png"
    for arguments, message in (
        ((), "give an image, or a caption with --text"),
        ((image,), "say where the image goes"),
        ((image, "--out", "why.pdf"), "unknown kind of file for --out '.pdf'"),
        ((image, "--class", "carr", "--out", tmp_path / "x.png"), "did you mean 'car'?"),
        ((desk / "gone.jpg", "--out", tmp_path / "x.png"), "gone.jpg: no such file"),
    ):
        code, _, err = run(*base, *arguments)
        assert code == 2
        assert message in err
    assert not (tmp_path / "x.png").exists()


def test_heat_brightens_where_it_is() -> None:
    gray = Image.new("RGB", (64, 64), (128, 128, 128))
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    shown = np.asarray(overlay(gray, heat, 0.0, 1.0), float).mean(-1)
    assert shown[4, 4] > shown[60, 60] + 40
    assert shade(1.0, 0.0, 1.0) != shade(0.0, 0.0, 1.0)
    assert shade(0.0, 0.0, 1.0)[0] == "#ffffff"
