"""The published splits of COCO's classes, and what a subset does to captions and images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tai_dpt.cli.train import main
from tai_dpt.datasets.class_subsets import SUBSETS, laso_seen, subset_columns
from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.errors import InputError
from tai_dpt.io.shipped import config_path
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.toolbox import load_checkpoint
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import layouts
import worlds

COCO = load_vocabulary("coco2014")
NOVEL = """bicycle, boat, stop sign, bird, backpack, frisbee, snowboard, surfboard, cup, fork,
spoon, broccoli, chair, keyboard, microwave, vase""".replace("\n", " ").split(", ")


def names(subset):
    return [COCO.dataset_names[column] for column in subset_columns(subset, COCO)]


def test_the_lists_are_what_was_published():
    assert names("novel16") == NOVEL
    assert [len(names(subset)) for subset in SUBSETS] == [16, 64, 48, 17, 65, 64, 16, 80]
    assert names("unseen") == names("novel16")  # one rule
    assert not set(names("seen64")) & set(NOVEL)
    assert set(names("seen48")) | set(names("unseen17")) == set(names("all65"))
    assert not set(names("seen48")) & set(names("unseen17"))
    assert laso_seen() == sorted(laso_seen()) and len(set(laso_seen())) == 64


def test_another_vocabulary_or_subset_is_refused():
    with pytest.raises(
        InputError, match="valid: novel16, seen64, seen48, unseen17, all65, seen, unseen"
    ):
        subset_columns("novel", COCO)
    with pytest.raises(InputError, match="VOCABULARY has 20: take coco2014"):
        subset_columns("novel16", load_vocabulary("voc2007"))
    voc = load_vocabulary("voc2007")
    assert len(subset_columns("seen", voc)) == 16
    both = subset_columns("seen", voc) + subset_columns("unseen", voc)
    assert sorted(both) == list(range(20)) == subset_columns("seen_and_unseen", voc)


def test_a_vocabulary_keeps_what_belongs_to_its_classes():
    columns = subset_columns("unseen17", COCO)
    some = COCO.subset(columns)
    for place, column in enumerate(columns):
        assert some.names[place] == COCO.names[column]
        assert set(some.synonyms[place]) == set(COCO.synonyms[column])
        assert some.grown[place] == COCO.grown[column]


def test_captions_that_name_none_of_the_classes_are_dropped():
    labels = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]], np.uint8)
    corpus = LabelledCorpus(["a", "b", "c"], labels, dropped=4)
    some = corpus.of_classes([2, 0])
    assert some.texts == ["a", "c"] and some.dropped == 5
    assert some.naming_none == 1
    np.testing.assert_array_equal(some.labels.toarray(), [[1, 1], [1, 0]])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_prompts_of_seen_classes_carry_over_to_unseen_ones(tmp_path):
    root = worlds.write_world(tmp_path)
    for trainer, own in (("TaIDPT", ()), ("DualCoOp", ("TRAINER.DUALCOOP.CSC", False))):
        learned = tmp_path / trainer
        options = ("OPTIM.MAX_EPOCH", 1, *own)
        seen = worlds.arguments(root, trainer, learned, *options, "DATASET.CLASSES", "seen")
        assert main(seen) == 0
        options += ("DATASET.CLASSES", "unseen", "MODEL.INIT_WEIGHTS", learned)
        argv = worlds.arguments(root, trainer, tmp_path / f"{trainer}-unseen", *options)
        cfg = setup_cfg(build_parser().parse_args(argv))
        trained = run(cfg, eval_only=True).model.state_dict()
        (path,) = learned.glob("prompt_learner/model.pth.tar-1")
        kept = load_checkpoint(path)["state_dict"]
        names = [name for name in trained if name.startswith(("ctx_", "log_"))]
        assert names and all(torch.equal(trained[name], kept[name]) for name in names)
        table = ScoreTable.load(tmp_path / f"{trainer}-unseen/scores.npz")
        assert len(table.class_names) == 2 and len(kept) == len(trained)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("images", ["all", "any_positive"])
def test_a_run_on_the_novel_classes(tmp_path, images):
    layouts.write_clip(tmp_path)
    layouts.write_coco(tmp_path)
    argv = [
        *("--root", tmp_path, "--output-dir", tmp_path / "out", "--trainer", "ZSCLIP"),
        *("--dataset-config-file", config_path("datasets", "coco2014_novel.yaml")),
        *layouts.TINY,
        *("DATASET.EVAL_IMAGES", images),
    ]
    code = main(list(map(str, argv)))
    instances = json.loads((tmp_path / "COCO/annotations/instances_val2014.json").read_text())
    ids = {c["id"] for c in instances["categories"] if c["name"] in NOVEL}
    showing = {a["image_id"] for a in instances["annotations"] if a["category_id"] in ids}
    if images == "any_positive" and not showing:
        assert code == 2
        return
    assert code == 0
    table = ScoreTable.load(tmp_path / "out/scores.npz")
    assert len(table.class_names) == 16
    wanted = showing if images == "any_positive" else {i["id"] for i in instances["images"]}
    assert {int(i) for i in table.ids} == wanted


def test_images_that_show_a_class_where_nothing_is_labelled(tmp_path, capsys):
    worlds.write_world(tmp_path)
    argv = worlds.arguments(
        tmp_path, "ZSCLIP", tmp_path / "o", "DATASET.EVAL_IMAGES", "any_positive"
    )
    argv[argv.index("--dataset-config-file") + 1] = str(worlds.write_unlabelled(tmp_path))
    assert main(argv) == 2
    assert "no test images to evaluate on that show a class" in capsys.readouterr().err
