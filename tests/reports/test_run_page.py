"""``page``: a run as one HTML file."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tai_dpt.cli.train import main
from tai_dpt.reports.page_charts import bars, line_chart
from tai_dpt.reports.page_images import choose_images
from tai_dpt.reports.run_page import _configuration, confused_pairs, report_page
from tai_dpt.scoring.results import ScoreTable, load_results, save_results

import worlds
from browser import BROWSER
from places import ROOT, TESTS
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
    assert f"images: size {results['preprocessing']['size']}, view " in text
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


@pytest.mark.parametrize(
    ("trainer", "shown"),
    [("Concepts", "similarity"), ("CoMC", "logit"), ("PIAA", "log-probability")],
)
def test_methods_after_the_paper_have_heat_maps(world, tmp_path, trainer, shown) -> None:
    argv = worlds.arguments(world, trainer, tmp_path / "run", "OPTIM.MAX_EPOCH", 1)
    assert main(argv) == 0
    text = report_page(tmp_path / "run", per_class=1)
    page = Checker(text)
    assert f"the {shown} of the class at every place" in text and "Left out" not in text
    assert any((image["alt"] or "").startswith("where dog scores") for image in page.images)
    assert ("corpus" in page.ids) == (trainer != "PIAA")


def test_no_run_is_one_line(tmp_path) -> None:
    code, _, err = run("page", tmp_path)
    assert code == 2
    assert "results.json: no such file; an evaluation writes it" in err
    assert not (tmp_path / "report.html").exists()


def test_a_tagger_has_no_page(tmp_path) -> None:
    (tmp_path / "tagger.json").write_text("{}")
    code, _, err = run("page", tmp_path)
    assert code == 2 and "is a tagger, and this page is of a training run: 'tai-dpt exp" in err


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


def test_charts_say_and_survive_odd_values() -> None:
    chart = line_chart("Loss", {"a": [(1, 2.0), (3, 1.0)]}, x_label="step")
    assert chart.said == "Loss: a from 2 to 1"
    assert [mark.label for mark in chart.marks] == ["1", "step", "3"]
    line_chart("x", {"one point": [(1, 0.0)]}, x_label="")
    drawn = bars("c", ["n", "v"], [("a", float("nan"), []), ("b", 0.0, ["7"])], most=0)
    assert [(row.percent, row.cells) for row in drawn.rows] == [(0, ("–",)), (0, ("0.0", "7"))]


HOSTILE = "<script>alert(1)</script> & \"x\" 'y'"


def test_names_are_text_on_every_part_of_the_page(world, tmp_path) -> None:
    results = load_results(world / "run/results.json")
    table = ScoreTable.load(world / "run/scores.npz")
    names = [HOSTILE, *table.class_names[1:]]
    results["config"]["OPTIM"]["NAME"] = HOSTILE
    results["threshold_source"] = HOSTILE
    results["versions"] = {HOSTILE: HOSTILE}
    results |= {"dataset": HOSTILE, "class_names": names}
    save_results(tmp_path / "results.json", results)
    dataclasses.replace(table, class_names=tuple(names)).save(tmp_path / "scores.npz")
    text = report_page(tmp_path, root=tmp_path)  # the data's own error is in it too
    Checker(text)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_an_unlabelled_run_has_images_and_no_figures(world, tmp_path, capsys) -> None:
    config = worlds.write_unlabelled(world)
    arguments = worlds.arguments(world, "TaIDPT", world / "run-unlabelled")
    arguments[arguments.index("--dataset-config-file") + 1] = str(config)
    with pytest.warns(UserWarning, match="nothing to evaluate"):
        assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "* total: 8" in printed and "mAP" not in printed.split("=> result")[1]
    text = report_page(world / "run-unlabelled", per_class=1)
    Checker(text)
    assert "mAP," not in text and "There is no mAP: no image is labelled." in text
    assert "scores highest" in text and "<img" in text
    assert "missed" not in text and "Images that a class is said to be in" in text


def test_a_fusion_and_an_ensemble_have_pages(world, tmp_path) -> None:
    assert main(worlds.arguments(world, "ZSCLIP", world / "other")) == 0
    fused = ("fuse", world / "run", world / "other", "--out", tmp_path / "fused")
    assert run(*fused)[0] == 0
    options = ("TRAINER.TAIDPTENSEMBLE.TEXT_RUN", world / "run")
    options += ("TRAINER.TAIDPTENSEMBLE.IMAGE_RUN", world / "other")
    ensemble = worlds.arguments(world, "TaIDPTEnsemble", tmp_path / "ensemble", *options)
    assert main(ensemble) == 0
    for folder in ("fused", "ensemble"):
        text = report_page(tmp_path / folder, per_class=1)
        Checker(text)
        assert "heat maps (a fusion has no prompt of its own)" in text
        assert "<img" in text and "text + λ image with λ = 0.9" in text
    assert "Fusion of TaIDPT + ZSCLIP on" in report_page(tmp_path / "fused", per_class=0)
    three = ("fuse", world / "run", world / "other", world / "run", "--out", tmp_path / "three")
    assert run(*three)[0] == 0
    assert "Fusion of TaIDPT + ZSCLIP + TaIDPT" in report_page(tmp_path / "three", per_class=0)
    bare = tmp_path / "bare"
    for name in ("a", "b"):
        (bare / name).mkdir(parents=True)
        (bare / name / "scores.npz").write_bytes((world / "run/scores.npz").read_bytes())
    files = ("fuse", bare / "a/scores.npz", bare / "b/scores.npz", "--out", bare / "fused")
    assert run(*files)[0] == 0
    text = report_page(bare / "fused")
    assert "images and the corpus (it does not say which data set it is of)" in text
    code, out, _ = run("report", bare)
    assert code == 0 and "a fusion of files that name no data set" in out


def test_without_its_model_a_run_still_has_its_images(world, tmp_path) -> None:
    for name in ("results.json", "scores.npz"):
        (tmp_path / name).write_bytes((world / "run" / name).read_bytes())
    text = report_page(tmp_path, per_class=1)
    assert "<img" in text and "Left out:" in text and "heat maps (" in text
    assert 'id="corpus"' in text


def test_a_page_of_version_01(tmp_path) -> None:
    old = TESTS / "reference/v0.1/run"
    (tmp_path / "scores.npz").write_bytes((old / "scores.npz").read_bytes())
    results = load_results(old / "results.json")
    save_results(tmp_path / "results.json", results | {"images": 40})  # as many as were committed
    text = report_page(tmp_path, root=ROOT / "data", per_class=1)
    Checker(text)
    assert "<b>85.4</b>mAP, merged" in text


def test_missed_and_false_alarm_follow_decisions() -> None:
    truth = np.array([1, 1, 1, -1, -1, 0])
    scores = np.array([0.9, 0.6, 0.1, 0.8, 0.2, 0.99])
    assert choose_images(truth, scores, 0.5, 2) == {
        "right and surest": [0, 1],
        "missed": [2],
        "false alarm": [3],
    }
    assert choose_images(truth, scores, 0.05, 2)["missed"] == []
    assert choose_images(truth, scores, 0.9, 2) == {
        "right and surest": [0],
        "missed": [2, 1],
        "false alarm": [],
    }
    assert list(choose_images(truth, scores, None, 1).values()) == [[0], [2], [3]]
    assert choose_images(0 * truth, scores, 0.5, 2) == {"scores highest": [5, 0]}


def test_page_opens_with_no_console_error(world, tmp_path) -> None:
    import subprocess

    if BROWSER is None:
        pytest.skip("no Chromium here")
    path = Path(tmp_path / "run.html")
    path.write_text(report_page(world / "run", per_class=1), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
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


def test_a_page_says_what_a_model_was_trained_with():
    results = {"trainer": "TaIDPT", "config": {"OPTIM": {"LR": 0.5}}}
    results |= {"trained_with": {"OPTIM.LR": 0.1}, "earlier_options": [{"until_epoch": 2}]}
    first = _configuration(results)["first"]
    assert first["trained with: OPTIM.LR"] == 0.1 and first["earlier (1): until_epoch"] == 2
