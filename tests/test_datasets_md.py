"""Every command in DATASETS.md runs, as it stands, in a folder made for it."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tai_dpt.cli.main import cli
from tai_dpt.cli.train import main
from tai_dpt.datasets.corpora import read_captions
from tai_dpt.datasets.inventory import CHECKS
from tai_dpt.scoring.results import ScoreTable

import layouts
from places import ROOT

SCENES = ROOT / "data" / "emoji_scenes"
TEXT = (ROOT / "DATASETS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.strip()
]
CLASSES = ("person", "dog", "cat", "car", "bicycle", "bus", "bird", "horse")


def write_own_data(home: Path) -> None:
    """Shipped scenes in the layout that the page describes."""
    content = json.loads((SCENES / "annotations/instances_test.json").read_text())
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    seen: dict[int, set[str]] = {}
    for annotation in content["annotations"]:
        name = name_of[annotation["category_id"]]
        if name in CLASSES:
            seen.setdefault(annotation["image_id"], set()).add(name)
    chosen = [image for image in content["images"] if image["id"] in seen][:80]
    (home / "images/scenes").mkdir(parents=True)
    for image in chosen:
        shutil.copy(SCENES / "images/test" / image["file_name"], home / "images/scenes")
    (home / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    captions = read_captions(SCENES / "annotations/captions_train.json")[:2000]
    (home / "captions.txt").write_text("".join(f"{caption}\n" for caption in captions))
    for split, images in (("train", chosen[:20]), ("test", chosen[20:])):
        with (home / f"{split}.csv").open("w", newline="", encoding="utf-8-sig") as stream:
            writer = csv.writer(stream)  # CRLF, and a byte order mark, as from a spreadsheet
            writer.writerow(["image", "labels"])
            for image in images:
                labels = ";".join(sorted(seen[image["id"]]))
                writer.writerow([f"scenes/{image['file_name']}", labels])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder: DATA with tiny benchmarks, and configs where RN50 is the shipped CLIP."""
    place = tmp_path_factory.mktemp("place")
    data = place / "DATA"
    layouts.write_voc(data)
    layouts.write_nuswide(data)
    layouts.write_coco(data)
    layouts.write_narratives(data)
    layouts.write_flickr(data)
    write_own_data(data / "mydata")
    shutil.copytree(ROOT / "configs", place / "configs", ignore=shutil.ignore_patterns("*.py*"))
    config = yaml.safe_load((ROOT / "configs/trainers/TaIDPT/emoji_scenes.yaml").read_text())
    config["MODEL"]["BACKBONE"]["NAME"] = str(SCENES / "clip.safetensors")
    config["OPTIM"]["MAX_EPOCH"] = 2
    config["DATASET"] = {"CORPUS": {"TEMPLATES": False}}  # quicker
    config["DATALOADER"]["NUM_WORKERS"] = 0
    (place / "configs/trainers/TaIDPT/rn50.yaml").write_text(yaml.safe_dump(config))
    return place


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("TAI_DPT_CACHE", str(place / "cache"))
    return place


def test_the_page_has_commands():
    assert len(COMMANDS) >= 10
    for command in COMMANDS:
        assert command.startswith(("tai-dpt ", "python train.py ")), command


@pytest.mark.parametrize("command", COMMANDS)  # in the page's order: later ones use earlier ones
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_command(here, command):
    program, *arguments = shlex.split(command)
    if program == "python":
        assert main(arguments[1:]) == 0
        return
    result = CliRunner().invoke(cli, arguments)
    # the tiny benchmarks are never complete
    complete = arguments[0] != "check-data" or "own_data" in command
    assert result.exit_code == (0 if complete else 1), result.output
    assert result.output.strip()


def test_the_worked_example_learns(here):
    """Runs after the commands; alone, it has nothing to look at."""
    folder = here / "output/mydata/TaIDPT/rn50/seed1"
    if not folder.is_dir():
        pytest.skip("the page's commands did not run before")
    table = ScoreTable.load(folder / "scores.npz")
    assert len(table.ids) == 60
    results = json.loads((folder / "results.json").read_text())
    assert results["mAP"] > 200 * (table.labels > 0).mean()  # twice what chance gives
    unlabelled = ScoreTable.load(here / "output/mydata/scores/scores.npz")
    assert len(unlabelled.ids) == 80
    rows = [unlabelled.ids.index(image) for image in table.ids]
    np.testing.assert_allclose(unlabelled.merged[rows], table.merged, atol=1e-3)
    assert not unlabelled.labels.any()


def test_the_page_names_every_source_and_config():
    for name in CHECKS:
        assert f"`{name}`" in TEXT
    for path in (ROOT / "configs/datasets").glob("*.yaml"):
        assert f"`{path.name}`" in TEXT


@pytest.mark.parametrize("name", CHECKS)
def test_the_pages_counts_are_those_that_are_checked(name, tmp_path):
    official = {part.expected for part in CHECKS[name](tmp_path)}
    row = next(line for line in TEXT.splitlines() if line.startswith("|") and f"`{name}`" in line)
    for count in re.findall(r"\d+,\d{3}", row):
        assert int(count.replace(",", "")) in official or "flickr" in name
