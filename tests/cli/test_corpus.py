"""``tai-dpt corpus``: what it prints and draws of a corpus."""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shell_pipes import handed_over, needs_pipes

from tai_dpt.cli.main import cli
from tai_dpt.errors import InputError
from tai_dpt.reports.corpus_plots import draw_corpus
from tai_dpt.scoring.cooccurrence import co_occurrence

import layouts

CAPTIONS = """a dog and a cat
two dogs in a car
a cat
the blue sky

a car and a dog
dogs
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TAI_DPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    (tmp_path / "classes.txt").write_text("cat\ndog\ncar\nzebra\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli, ["corpus", *map(str, arguments)], catch_exceptions=False)


def of_folder(folder, *arguments):
    return run(
        *("--captions", folder / "captions.txt", "--vocabulary", folder / "classes.txt"),
        *arguments,
    )


def row(output: str, name: str) -> list[str]:
    """The cells of a class's row in the table."""
    line = next(line for line in output.splitlines() if line.startswith(f"{name} "))
    return re.split(r" {2,}", line.strip())


def test_the_figures(folder):
    result = of_folder(folder)
    assert result.exit_code == 0
    assert "6 captions read" in result.output
    assert "1 (16.7%) name no class: dropped" in result.output
    assert "5 are learned from" in result.output
    assert "1.60 on average (1: 40.0%, 2: 60.0%)" in result.output
    assert row(result.output, "dog") == ["dog", "4", "80.0%", "1", "car 2, cat 1"]
    assert row(result.output, "cat") == ["cat", "2", "40.0%", "1", "dog 1"]
    assert row(result.output, "zebra")[1] == "0"


def test_a_class_without_captions_is_a_warning(folder):
    assert "1 of 4 classes have no caption: zebra" in of_folder(folder).stderr


def test_captions_of_a_class(folder):
    result = of_folder(folder, "--class", "Cat")
    assert "cat is read off: cat" in result.output
    assert "2 captions name it, such as\n  a dog and a cat  [cat, dog]\n  a cat  [cat]" in (
        result.output
    )
    assert result.output.count("  [") == 2
    assert "0 captions name it\n" in of_folder(folder, "--class", "zebra").output
    result = of_folder(folder, "--class", "dog", "--examples", 2)
    assert "  a dog and a cat  [cat, dog]\n  dogs  [dog]\n" in result.output  # first and last


def test_dropped_captions(folder):
    result = of_folder(folder, "--dropped")
    assert "1 captions name no class, such as\n  the blue sky\n" in result.output


def test_what_a_sample_leaves_out_is_not_said_to_name_no_class(folder):
    more = "a cat\n" * 3 + "a dog\n" * 3
    (folder / "captions.txt").write_text(CAPTIONS + more)
    for option in ("DROP_DUPLICATES", True), ("SAMPLE_PER_CLASS", 1):
        words = f"DATASET.CORPUS.{option[0]}", option[1]
        result = of_folder(folder, "--dropped", *words)
        assert "12 captions read\n1 (8.3%) name no class: dropped" in result.output
        used = int(re.search(r"(\d+) are learned from", result.output)[1])
        assert f"{12 - 1 - used} are repeated, or not in the random sample" in result.output
        assert "1 captions name no class, such as\n  the blue sky\n" in result.output
        assert result.stderr.count("have no caption: zebra") == 1


def test_limits_of_a_config(folder):
    result = of_folder(folder, "DATASET.CORPUS.PER_CLASS_LIMIT", 1)
    assert "6 captions read" in result.output
    assert "1 (16.7%) name no class" in result.output
    assert re.search(r"2 are over the config's limits: left out\n3 are learned from", result.output)


def test_images(folder):
    result = of_folder(folder, "--out", folder / "out")
    names = ["captions_per_class", "classes_per_caption", "co_occurrence"]
    assert sorted(path.stem for path in (folder / "out").iterdir()) == names
    for name in names:
        path = folder / "out" / f"{name}.png"
        assert f"picture: {path}" in result.output
        assert np.asarray(Image.open(path).convert("L")).std() > 5  # not blank


@pytest.mark.parametrize("classes", [1, 2, 130])
def test_images_of_any_number_of_classes(tmp_path, classes):
    labels = np.zeros((3, classes), np.uint8)
    labels[:, 0] = 1
    assert len(draw_corpus(tmp_path, labels, [f"class {i}" for i in range(classes)])) == 3


def test_a_config_names_the_corpus(tmp_path, folder):
    layouts.write_coco(tmp_path)
    config = folder / "corpus.yaml"
    config.write_text(
        "DATASET:\n  NAME: VOC2007\n  VOCABULARY: voc2007\n  CLASS_NAMES: readable\n"
        "  CORPUS: {FILES: [COCO/annotations/captions_train2014.json]}\n"
    )
    result = run("--root", tmp_path, "--dataset-config-file", config)
    assert "12 captions read" in result.output  # no image was looked for
    assert row(result.output, "dining table")[1] == "2"  # "diningtable" in the paper


def test_classes_of_the_data_set_itself(tmp_path, folder):
    layouts.write_coco(tmp_path)
    config = folder / "corpus.yaml"
    config.write_text(
        "DATASET:\n  NAME: CocoFormat\n"
        "  COCO: {TEST: [COCO/annotations/instances_val2014.json, COCO/val2014]}\n"
        "  CORPUS: {FILES: [COCO/annotations/captions_train2014.json]}\n"
    )
    assert row(run("--root", tmp_path, "--dataset-config-file", config).output, "airplane")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --dataset-config-file, or --captions and --classes"),
        (("--captions", "captions.txt"), "--captions and --classes go together"),
        (("--captions", "no.txt", "--vocabulary", "classes.txt"), "no such caption file"),
        (("--captions", "captions.txt", "--vocabulary", "voc"), "unknown vocabulary 'voc'"),
        (
            ("--captions", "captions.txt", "--vocabulary", "classes.txt", "--class", "dgo"),
            "unknown class 'dgo'; did you mean 'dog'",
        ),
        (
            ("--captions", "captions.txt", "--vocabulary", "classes.txt", "DATASET.CORPS", "1"),
            "unknown config key 'DATASET.CORPS'",
        ),
    ],
)
def test_bad_input(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=re.escape(message)):
        run(*arguments)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=20))
def test_co_occurrence_counts_pairs(rows):
    labels = np.array(rows, np.uint8)
    pairs = co_occurrence(labels)
    np.testing.assert_array_equal(pairs.diagonal(), labels.sum(0))
    for i in range(3):
        for j in range(3):
            assert pairs[i, j] == sum(row[i] and row[j] for row in rows)


@needs_pipes
@pytest.mark.parametrize(
    "options, shown",
    [
        (["--dropped"], "the blue sky"),
        (["--class", "dog"], "4 captions name it"),
        (["DATASET.CORPUS.PER_CLASS_LIMIT", "1"], "are over the config's limits"),
        (["DATASET.CORPUS.MAX_CAPTIONS", "2", "--dropped"], "2 are learned from"),
    ],
)
def test_captions_from_a_pipe_are_read_once(folder, options, shown):
    """As ``--captions <(zcat corpus.gz)`` gives them."""
    with handed_over(CAPTIONS) as pipe:
        result = run("--captions", pipe, "--vocabulary", folder / "classes.txt", *options)
    assert result.exit_code == 0 and shown in result.output
    assert result.output == of_folder(folder, *options).output
