"""VOC2007 in its official layout."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tai_dpt.cli.train import main
from tai_dpt.datasets.voc2007 import voc_split
from tai_dpt.errors import InputError
from tai_dpt.io.shipped import config_path
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.scoring.metrics import average_precisions
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import layouts

PAPER = load_vocabulary("voc2007")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    layouts.write_voc(root)
    layouts.write_coco(root)
    layouts.write_clip(root)
    return root


def arguments(root, output, *options, trainer="ZSCLIP", config="voc2007.yaml"):
    flags = ("--root", root, "--dataset-config-file", config_path("datasets", config))
    flags += ("--trainer", trainer, "--output-dir", output, "--seed", 1, *layouts.TINY, *options)
    return [str(flag) for flag in flags]


def evaluated(root, output, *options, **named):
    """Run in this process; returns the trainer."""
    return run(setup_cfg(build_parser().parse_args(arguments(root, output, *options, **named))))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_labels_from_image_sets(tmp_path, newline):
    home = layouts.write_voc(tmp_path, newline=newline)
    images = voc_split(home, "test", PAPER)
    assert images.ids[:2] == ("001001", "001002")
    assert images.paths[0] == str(home / "JPEGImages/001001.jpg")
    # image 1001 shows classes 1 and 2; class 3 is difficult in it
    assert images.labels[0].tolist() == [-1, 1, 1, 0, *[-1] * 16]
    assert len(voc_split(home, "trainval", PAPER)) == 6


def test_readable_names_read_the_same_files(root, tmp_path):
    trainer = evaluated(root, tmp_path, "DATASET.CLASS_NAMES", "readable")
    assert "potted plant" in trainer.dataset.classnames
    paper = voc_split(root / "VOCdevkit/VOC2007", "test", PAPER)
    np.testing.assert_array_equal(trainer.dataset.images("test").labels, paper.labels)


def test_difficult_objects_are_negatives_or_left_out(root, tmp_path):
    tables, results = {}, {}
    for choice in ("negative", "ignore"):
        evaluated(root, tmp_path / choice, "DATASET.VOC2007.DIFFICULT", choice)
        tables[choice] = ScoreTable.load(tmp_path / choice / "scores.npz")
        results[choice] = json.loads((tmp_path / choice / "results.json").read_text())
    table = tables["negative"]
    assert (table.labels == 0).any()
    np.testing.assert_array_equal(table.labels, tables["ignore"].labels)
    np.testing.assert_array_equal(table.merged, tables["ignore"].merged)
    for choice, ignore in (("negative", None), ("ignore", table.labels == 0)):
        expected = np.nanmean(average_precisions(table.merged, table.labels, ignore=ignore))
        assert results[choice]["mAP"] == pytest.approx(expected)
    assert results["ignore"]["mAP"] > results["negative"]["mAP"]
    assert results["ignore"]["unknown_labels"] == "ignored"


def test_learning_from_captions_needs_no_trainval(tmp_path, root):
    lists = tmp_path / "VOCdevkit/VOC2007/ImageSets/Main"
    lists.mkdir(parents=True)
    home = root / "VOCdevkit/VOC2007"
    for path in (home / "ImageSets/Main").glob("*test.txt"):
        (lists / path.name).write_bytes(path.read_bytes())
    (tmp_path / "VOCdevkit/VOC2007/JPEGImages").symlink_to(home / "JPEGImages")
    (tmp_path / "COCO").symlink_to(root / "COCO")
    layouts.write_clip(tmp_path)
    trainer = evaluated(tmp_path, tmp_path / "out", trainer="TaIDPT")
    assert len(trainer.dataset.images("train")) == 0
    assert len(trainer.dataset.corpus) == 10


def test_image_learned_prompts_see_partial_labels(root, tmp_path):
    trainer = evaluated(root, tmp_path, "DATASET.PARTIAL.PROPORTION", 0.5, trainer="DualCoOp")
    labels, known = trainer.dataset.images("train").labels, trainer.train_images.labels
    assert 0.3 < (known != 0).mean() < 0.7
    assert (known[known != 0] == labels[known != 0]).all()


def test_the_papers_corpus_is_one_caption_an_image(root, tmp_path):
    options = ("DATASET.CORPUS.LEMMATIZER", "builtin")
    argv = arguments(root, tmp_path, *options, config="voc2007_paper.yaml", trainer="TaIDPT")
    cfg = setup_cfg(build_parser().parse_args(argv))
    assert (cfg.DATASET.CORPUS.PRESET, cfg.DATASET.CORPUS.ONE_PER_IMAGE) == ("paper", True)
    corpus = run(cfg, no_train=True).dataset.corpus
    assert len(corpus) + corpus.dropped == 6  # of 12 captions, two an image


BAD = [
    (lambda m: (m / "dog_test.txt").unlink(), r"dog_test\.txt"),
    (lambda m: (m / "test.txt").unlink(), r"test\.txt"),
    (lambda m: (m / "test.txt").write_text("\n"), "lists no images"),
    (
        lambda m: (m / "test.txt").write_text("001001\n001002\n"),
        r"has labels for 3 images that are not in Main/test\.txt: 001003, 001004, 001005",
    ),
    (
        lambda m: (m / "cat_test.txt").write_text("001001 -1\n"),
        r"cat_test\.txt: has no label for 4 images listed in Main/test\.txt: 001002",
    ),
    (lambda m: _append(m / "cat_test.txt", "001001 1\r\n"), "line 6: image '001001' was listed"),
    (lambda m: _append(m / "cat_test.txt", "001009 2\n"), "line 6: '001009 2' is not an image id"),
    (lambda m: _append(m / "test.txt", "001001\n"), "'001001' appears twice|has no label"),
]


def _append(path, text):
    path.write_bytes(path.read_bytes() + text.encode())


@pytest.mark.parametrize(("damage", "message"), BAD)
def test_damaged_lists_are_named(tmp_path, damage, message):
    home = layouts.write_voc(tmp_path)
    layouts.write_clip(tmp_path)
    damage(home / "ImageSets" / "Main")
    with pytest.raises(InputError, match=message):
        evaluated(tmp_path, tmp_path / "out")


def test_a_byte_order_mark_changes_nothing(tmp_path):
    home = layouts.write_voc(tmp_path)
    before = voc_split(home, "test", PAPER)
    for path in (home / "ImageSets/Main").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    after = voc_split(home, "test", PAPER)
    assert after.ids == before.ids
    np.testing.assert_array_equal(after.labels, before.labels)


def test_missing_images_are_counted(tmp_path, capsys):
    home = layouts.write_voc(tmp_path)
    layouts.write_clip(tmp_path)
    (home / "JPEGImages/001002.jpg").unlink()
    with pytest.warns(UserWarning, match=r"test split: 1 of 5 images are not on disk: .*001002"):
        assert main(arguments(tmp_path, tmp_path / "out")) == 2
    assert "001002.jpg" in capsys.readouterr().err


def test_an_unknown_choice_for_difficult_objects(root, tmp_path, capsys):
    options = ("DATASET.VOC2007.DIFFICULT", "positive")
    assert main(arguments(root, tmp_path, *options)) == 2
    assert "valid: negative, ignore" in capsys.readouterr().err
