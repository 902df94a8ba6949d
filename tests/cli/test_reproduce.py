"""``tai-dpt reproduce``: cells held to the paper's figures, or to this project's own record."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from click.testing import CliRunner

from tai_dpt.cli.main import cli
from tai_dpt.cli.sweep import recipe_of
from tai_dpt.datasets import inventory
from tai_dpt.datasets.inventory import Part
from tai_dpt.errors import InputError
from tai_dpt.reports.verdicts import targets_of
from tai_dpt.sweeps.plans import PLANS

from fake_runs import write_run
from places import ROOT

RECORDED = yaml.safe_load((ROOT / "configs/recorded_tables.yaml").read_text())


def reproduce(*arguments):
    return CliRunner().invoke(cli, ["reproduce", *map(str, arguments)])


@pytest.fixture
def data(monkeypatch, tmp_path):
    """A folder in which all of VOC2007 and its captions is, less what a test takes away."""
    there = {"voc2007": [Part("trainval images", "", None, 1), Part("test images", "", 1, 1)]}
    path = "COCO/annotations/captions_train2014.json"
    there["captions_train2014"] = [Part("captions", path, 1, 1)]
    for name, parts in there.items():
        monkeypatch.setitem(inventory.CHECKS, name, lambda _, parts=parts: parts)
    (tmp_path / "DATA").mkdir()
    return there


def finished(tmp_path, name="table1", benchmark="voc2007", images=None, **of):
    """Every run of a plan, finished with these global, local and merged scores by trainer."""
    for run in PLANS[name](recipe_of(benchmark, ("1", "2", "3"), tmp_path / "out")):
        write_run(
            run.folder,
            trainer=run.trainer,
            dataset=benchmark,
            seed=run.seed,
            mean_ap=of[run.trainer],
            images=images,
        )


def cells(done):
    """{method: (ours, difference, verdict)} of the printed table."""
    rows = [line.strip("| ").split("|") for line in done.stdout.splitlines() if "within" in line]
    return {
        row[0].strip(): tuple(row[i].strip() for i in (2, 4, 5)) for row in rows if len(row) == 6
    }


def test_every_cell_within_is_0(data, tmp_path):
    finished(tmp_path, ZSCLIP=(76.2, 77.0, 77.6), TaIDPT=(86.9, 87.0, 87.30))
    done = reproduce("table1", "voc2007", "--root", tmp_path / "DATA", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "4 of 4 within 1.0 mAP" in done.stdout
    assert cells(done) == {
        "ZSCLIP": ("76.2", "+0.0", "within 1.0"),
        "ZSCLIP + DPT": ("77.6", "+0.3", "within 1.0"),
        "TaI": ("86.9 ± 0.0", "+0.9", "within 1.0"),
        "TaI-DPT": ("87.3 ± 0.0", "-1.0", "within 1.0"),
    }


def test_a_cell_off_is_1_and_said(data, tmp_path):
    finished(tmp_path, ZSCLIP=(74.0, 77.0, 77.3), TaIDPT=(87.2, 87.0, 88.3))
    arguments = ("table1", "voc2007", "--root", tmp_path / "DATA", "--out", tmp_path / "out")
    done = reproduce(*arguments)
    assert done.exit_code == 1 and "2 of 4 within" in done.stdout
    assert cells(done)["ZSCLIP"] == ("74.0", "-2.2", "NOT within: lower")
    assert cells(done)["TaI"] == ("87.2 ± 0.0", "+1.2", "NOT within: higher")
    assert reproduce(*arguments, "--method", "TaI-DPT").exit_code == 0
    told = json.loads(reproduce(*arguments, "--json").stdout)
    assert [cell["within"] for cell in told["cells"]] == [False, True, False, True]
    assert told["remarks"] == []
    other = reproduce(*arguments, "--method", "TaI-DPT", "OPTIM.MAX_EPOCH", 10)
    one = json.loads(reproduce(*arguments, "--seeds", 1, "--json").stdout)
    assert "run with one seed, not the usual three" in one["remarks"][0]
    assert other.exit_code == 0 and "with OPTIM.MAX_EPOCH 10: not the recipe" in other.stdout


def test_another_number_of_images_is_no_reproduction(data, tmp_path):
    finished(tmp_path, ZSCLIP=(76.2, 77.0, 77.3), TaIDPT=(86.0, 87.0, 88.3), images=4000)
    done = reproduce("table1", "voc2007", "--root", tmp_path / "DATA", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "evaluated on 4,000 images, the benchmark has 4,952" in done.stdout.splitlines()[-1]


def test_data_that_are_not_there(data, tmp_path):
    arguments = ("table1", "voc2007", "--out", tmp_path / "out")
    assert "--root DATA" in str(reproduce(*arguments).exception)
    data["captions_train2014"][0] = Part("captions", data["captions_train2014"][0].path, None, 1)
    error = reproduce(*arguments, "--root", tmp_path / "DATA").exception
    assert isinstance(error, InputError)
    assert re.search(
        r"'tai-dpt get-data captions_train2014 --root \S+ --test-images-only', or add --get-data",
        str(error),
    )


def test_missing_data_are_fetched_where_that_is_asked_for(data, tmp_path, monkeypatch):
    finished(tmp_path, ZSCLIP=(76.2, 77.0, 77.3), TaIDPT=(86.0, 87.0, 88.3))
    parts = data["captions_train2014"]
    parts[0] = Part("captions", parts[0].path, None, 1)

    def fetched(*_, **__):
        parts[0] = Part("captions", parts[0].path, 1, 1)

    monkeypatch.setattr("tai_dpt.cli.get_data._get", fetched)
    arguments = ("--root", tmp_path / "DATA", "--out", tmp_path / "out", "--get-data")
    assert reproduce("table1", "voc2007", *arguments).exit_code == 0
    parts[0] = Part("captions", parts[0].path, None, 1)
    monkeypatch.setattr("tai_dpt.cli.get_data._get", lambda *_, **__: None)
    assert "still not complete" in str(reproduce("table1", "voc2007", *arguments).exception)


@pytest.mark.parametrize(
    ("name", "dataset", "place", "value"),
    [
        ("table1", "coco2014_paper", ("TaI-DPT", "coco2014_paper"), 65.1),
        ("table2", "voc2007", ("DualCoOp", "10%"), 91.4),  # the paper's own run of it
        ("table2", "nuswide", ("DualCoOp + TaI-DPT", "avg"), 58.3),
        ("table3", "coco2014_novel", ("TaI-DPT", "0-shot"), 59.2),
        ("table2", "emoji_scenes", ("DualCoOp", "90%"), 86.1),
    ],
)
def test_what_cells_are_held_to(name, dataset, place, value):
    assert targets_of(name, dataset)[place] == value


def test_only_runs_that_a_figure_is_about(tmp_path):
    out = ("--out", tmp_path, "--dry-run", "--root", tmp_path)
    done = reproduce("table2", "voc2007", *out)
    assert "concepts" not in done.stdout and "TaIDPTEnsemble/rn101/partial0.9" in done.stdout
    done = reproduce("table3", "coco2014_novel", *out)
    assert "3 runs" in done.stdout and "any_positive" not in done.stdout
    done = reproduce("table1", "emoji_scenes", *out, "--method", "ZSCLIP")
    assert "1 runs" in done.stdout and "TaIDPT" not in done.stdout


def test_what_has_no_figure_is_told(tmp_path):
    for words, message in (
        (("table1", "own_data"), "no figure of table1 is printed for own_data"),
        (("table3", "voc2007"), "table 3 is of the data set coco2014_novel"),
        (("table1", "voc20007"), "did you mean 'voc2007'"),
        (("table1", "voc2007", "--method", "TaI-DTP"), "did you mean 'TaI-DPT'"),
    ):
        assert message in str(reproduce(*words, "--root", tmp_path).exception)


def test_the_record_is_what_reproduce_md_says():
    page = (ROOT / "REPRODUCE.md").read_text()
    for method, (value,) in RECORDED["emoji_scenes"]["table1"]["rows"].items():
        assert f"| {method} | {value} ± " in page
    for method, values in RECORDED["emoji_scenes"]["table2"]["rows"].items():
        rows = [line for line in page.splitlines() if line.startswith(f"| {method}")]
        assert list(map(str, values)) in [re.findall(r"(\d+\.\d) ±", row) for row in rows]
