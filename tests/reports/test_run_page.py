"""``page``: a run as one HTML file."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tai_dpt.cli.train import main
from tai_dpt.reports.page_charts import bars, line_chart
from tai_dpt.reports.run_page import confused_pairs, report_page
from tai_dpt.scoring.results import ScoreTable, load_results, save_results

import worlds
from taggers import run

VOID = {"meta", "link", "img", "line", "rect", "polyline", "br"}


class Checker(HTMLParser):
    """Collects what a page needs for keyboards, screen readers and no network."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes) -> None:
        found = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(found)
        self.links += [found[k] for k in ("src", "href") if k in found]
        self.ids += [found["id"]] if "id" in found else []
        self.headings += [tag] if re.fullmatch("h[1-6]", tag) else []

    def handle_startendtag(self, tag, attributes) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = worlds.write_world(tmp_path_factory.mktemp("world"))
    assert main(worlds.arguments(root, "TaIDPT", root / "run", "TRAIN.PRINT_FREQ", 1)) == 0
    return root


def test_the_page_is_whole(world, tmp_path) -> None:
    code, _, err = run("page", world / "run", "--out", tmp_path / "run.html", "--per-class", 1)
    assert code == 0, err
    text = (tmp_path / "run.html").read_text()
    page = Checker(text)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert len(page.ids) == len(set(page.ids))
    assert page.images
    assert all(image["alt"] for image in page.images)
    assert page.headings[0] == "h1"
    assert page.headings.count("h1") == 1
    for section in ("curves", "classes", "images", "corpus", "configuration"):
        assert section in page.ids
    assert "Left out" not in text
    assert 'lang="en"' in text
    assert "width=device-width" in text
    results = load_results(world / "run" / "results.json")
    assert f"<b>{results['mAP']:.1f}</b>mAP, merged" in text
    for name in worlds.CLASSES:
        assert f'<th scope="row">{name}</th>' in text


def test_without_the_data_it_says_what_it_lacks(world, tmp_path) -> None:
    text = report_page(world / "run", root=tmp_path)
    assert "Left out:" in text
    assert "is missing" in text
    assert "<img" not in text
    assert "Curves" in text


def test_other_weights_give_no_heat_maps(world, tmp_path) -> None:
    results = load_results(world / "run" / "results.json")
    for name in ("scores.npz", "log.txt"):
        (tmp_path / name).write_bytes((world / "run" / name).read_bytes())
    (tmp_path / "prompt_learner").symlink_to(world / "run" / "prompt_learner")
    results["backbone"]["sha256"] = "0" * 64
    save_results(tmp_path / "results.json", results)
    text = report_page(tmp_path, per_class=1)
    assert "heat maps (the backbone" in text
    assert "<img" in text


def test_zero_shot_has_a_page_too(world) -> None:
    assert main(worlds.arguments(world, "ZSCLIP", world / "zero")) == 0
    text = report_page(world / "zero", per_class=1)
    assert 'id="curves"' not in text
    assert "<img" in text


def test_no_run_is_one_line(tmp_path) -> None:
    code, _, err = run("page", tmp_path)
    assert code == 2
    assert "results.json: no such file; an evaluation writes it" in err
    assert not (tmp_path / "report.html").exists()


def test_confused_pairs() -> None:
    labels = np.array([[1, -1, -1]] * 6 + [[-1, 1, 1]] * 6, np.int8)
    scores = np.array([[0.5, 0.9, 0.1]] * 3 + [[0.5, 0.2, 0.1]] * 3 + [[0.0, 1.0, 1.0]] * 6)
    table = ScoreTable(
        ids=tuple(map(str, range(12))),
        class_names=("a", "b", "c"),
        labels=labels,
        global_=scores,
        local=scores,
        merged=scores,
    )
    assert confused_pairs(table, scores) == [(0.5, 3, 0, 1)]


def test_charts_escape_and_survive_odd_values() -> None:
    chart = line_chart("<x>", {"a<b": [(1, 2.0)]}, x_label="&")
    Checker(chart)
    assert "<x>" not in chart
    table = bars("c", ["n", "v"], [("<i>", float("nan"), []), ("b", 0.0, [])], most=0)
    Checker(table)
    assert "<i>" not in table
    assert "–" in table


def test_page_opens_with_no_console_error(world, tmp_path) -> None:
    import shutil
    import subprocess

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    path = Path(tmp_path / "run.html")
    path.write_text(report_page(world / "run", per_class=1), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "CONSOLE" not in done.stderr
    assert "mAP, merged" in done.stdout


def test_report_html_is_the_same_page(world, tmp_path) -> None:
    code, _, err = run("report", world / "run", "--html", tmp_path / "run.html")
    assert code == 0, err
    assert "<h1" in (tmp_path / "run.html").read_text()
    assert run("report", world / "run", world, "--html", tmp_path / "x.html")[0] == 2
