"""NUS-WIDE in its official layout."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tai_dpt.cli.train import main
from tai_dpt.datasets.nuswide import nuswide_split
from tai_dpt.errors import InputError
from tai_dpt.io.shipped import config_path
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import layouts

PAPER = load_vocabulary("nuswide")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("nus")
    layouts.write_nuswide(root)
    layouts.write_narratives(root)
    layouts.write_clip(root)
    return root


def arguments(root, output, *options, trainer="ZSCLIP"):
    flags = ("--root", root, "--dataset-config-file", config_path("datasets", "nuswide.yaml"))
    flags += ("--trainer", trainer, "--output-dir", output, "--seed", 1, *layouts.TINY, *options)
    return [str(flag) for flag in flags]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_lists_with_backslashes_and_labels(tmp_path, newline, unpacked):
    home = layouts.write_nuswide(tmp_path, newline=newline, unpacked=unpacked)
    images = nuswide_split(home, "Train", PAPER)
    assert images.ids[:2] == ("airport/0000_train.jpg", "animal/0001_train.jpg")
    assert images.paths[1] == str(home / "Flickr/animal/0001_train.jpg")
    assert images.labels.shape == (6, 81)
    assert np.flatnonzero(images.labels[1] == 1).tolist() == [1, 2]
    assert (images.labels[4] == -1).all()


NO_TAGS = {"computer", "fire", "map", "swimmers", "tattoo", "whales"}  # as published


@pytest.fixture
def tagged(tmp_path):
    """The 1,000 tags as published: 75 are concepts. Image i of all has tags i and i + 1."""
    home = layouts.write_nuswide(tmp_path)
    concepts = list(PAPER.dataset_names)
    (home / "Concepts81.txt").write_text("\n".join(concepts))
    tags = [name for name in concepts if name not in NO_TAGS] + [f"tag{n}" for n in range(925)]
    (home / "NUS_WID_Tags").mkdir()
    (home / "NUS_WID_Tags/TagList1k.txt").write_text("\n".join(tags))
    lists = [home / f"ImageList/{name}Imagelist.txt" for name in ("Test", "Train")]
    ids = [line for path in lists for line in path.read_text().split()]
    (home / "ImageList/Imagelist.txt").write_text("\n".join(ids))
    rows = [[str(int(c in (75 + i, 76 + i))) for c in range(1000)] for i in range(len(ids))]
    (home / "NUS_WID_Tags/AllTags1k.txt").write_text("\n".join(map("\t".join, rows)))
    layouts.write_clip(tmp_path)
    return home


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("subset, count", [("tags925", 925), ("concepts81", 81), ("all1006", 1006)])
def test_seen_tags_and_unseen_concepts(tagged, tmp_path, subset, count):
    argv = arguments(tmp_path, tmp_path / "out", "DATASET.CLASSES", subset)
    assert main(argv) == 0
    table = ScoreTable.load(tmp_path / "out/scores.npz")
    assert len(table.class_names) == count
    if subset != "concepts81":
        first = table.class_names.index("tag0")
        shown = [np.flatnonzero(row[first:] > 0).tolist() for row in table.labels]
        assert shown == [[i, i + 1] for i in range(5)]
    if subset != "tags925":
        assert (table.labels[:, :81] > 0).any(1).tolist() == [True] * 4 + [False]


def test_tags_that_are_not_the_official_ones(tagged, tmp_path, capsys):
    path = tagged / "NUS_WID_Tags/AllTags1k.txt"
    path.write_text(path.read_text().replace("0", "2", 1))
    argv = arguments(tmp_path, tmp_path / "out", "DATASET.CLASSES", "all1006")
    assert main(argv) == 2
    assert "AllTags1k.txt, line 1: not 1,000 times 0 or 1" in capsys.readouterr().err
    tags = tagged / "NUS_WID_Tags/TagList1k.txt"
    tags.write_text(tags.read_text().replace("tag7\n", ""))
    assert main(argv) == 2
    assert "924 of its tags are none of the 81 concepts" in capsys.readouterr().err
    assert main(arguments(tmp_path, tmp_path / "out", "DATASET.CLASSES", "tags952")) == 2
    assert "did you mean 'tags925'?" in capsys.readouterr().err


def test_unlabelled_images_are_kept_or_dropped(root, tmp_path):
    for choice, count in (("keep", 5), ("drop", 4)):
        argv = arguments(root, tmp_path / choice, "DATASET.NUSWIDE.UNLABELLED", choice)
        assert main(argv) == 0
        table = ScoreTable.load(tmp_path / choice / "scores.npz")
        assert len(table.ids) == count
    assert (table.labels > 0).any(1).all()


def test_learns_from_localized_narratives(root, tmp_path):
    argv = arguments(root, tmp_path, "DATASET.CORPUS.PER_CLASS_LIMIT", 1, trainer="TaIDPT")
    cfg = setup_cfg(build_parser().parse_args(argv))
    corpus = run(cfg).dataset.corpus
    assert corpus.dropped > 0
    assert json.loads((tmp_path / "results.json").read_text())["dataset"] == "NUSWIDE"


def test_image_learned_prompts_see_partial_labels(root, tmp_path):
    argv = arguments(root, tmp_path, "DATASET.PARTIAL.PROPORTION", 0.3, trainer="MLCoOp")
    trainer = run(setup_cfg(build_parser().parse_args(argv)))
    assert 0.1 < (trainer.train_images.labels != 0).mean() < 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: (h / "TrainTestLabels/Labels_zebra_Test.txt").unlink(), "Labels_zebra_Test"),
        (
            lambda h: (h / "TrainTestLabels/Labels_sky_Test.txt").write_text("0\n1\n"),
            r"Labels_sky_Test\.txt: 2 labels, but TestImagelist\.txt lists 5 images",
        ),
        (
            lambda h: (h / "TrainTestLabels/Labels_sky_Test.txt").write_text("0\n1\n0\n2\n0\n"),
            r"Labels_sky_Test\.txt, line 4: a label is 0 or 1, not '2'",
        ),
        (
            lambda h: (h / "TrainTestLabels/Labels_sky_Test.txt").write_text("0\n10\n0\n1\n0\n"),
            "line 2: a label is 0 or 1, not '10'",
        ),
        (lambda h: (h / "ImageList/TestImagelist.txt").unlink(), "TestImagelist"),
        (lambda h: (h / "Concepts81.txt").write_text("airport\n"), "80 of the 81 classes"),
        (lambda h: _twice(h / "ImageList/TestImagelist.txt"), "appears twice"),
    ],
)
def test_damaged_files_are_named(tmp_path, change, message):
    home = layouts.write_nuswide(tmp_path)
    change(home)
    with pytest.raises(InputError, match=message):
        run(setup_cfg(build_parser().parse_args(arguments(tmp_path, tmp_path / "out"))))


def _twice(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[0], *lines[2:]]))


def test_a_byte_order_mark_and_trailing_spaces_change_nothing(tmp_path):
    home = layouts.write_nuswide(tmp_path, newline=" \n")
    path = home / "TrainTestLabels/Labels_airport_Test.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert nuswide_split(home, "Test", PAPER).labels[0, 0] == 1


def test_long_lists(tmp_path):
    """A tenth of the official length."""
    home = layouts.write_nuswide(tmp_path)
    count = 16_000
    (home / "ImageList/TrainImagelist.txt").write_text(
        "".join(f"actor\\{i:04d}_{i}.jpg\r\n" for i in range(count))
    )
    labels = np.random.default_rng(0).integers(0, 2, count)
    text = "".join(f"{value}\r\n" for value in labels)
    for concept in layouts.NUS:
        (home / f"TrainTestLabels/Labels_{concept}_Train.txt").write_text(text)
    images = nuswide_split(home, "Train", PAPER)
    np.testing.assert_array_equal(images.labels[:, 40], np.where(labels, 1, -1))
