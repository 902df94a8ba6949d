"""``tai-dpt fit`` and ``tai-dpt calibrate``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from shell_pipes import handed_over, needs_pipes

from tai_dpt import Tagger
from tai_dpt.scoring.calibration import SOURCES
from tai_dpt.scoring.scores import Scores
from tai_dpt.tagger.fitting import named_backbone

from places import ROOT
from taggers import CAPTIONS, CLASSES, OPTIONS, photo, run, weight_file


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a class list, a corpus, a backbone and images."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "classes.txt").write_text("# mine\n" + "\n".join(CLASSES) + "\n")
    (folder / "corpus.txt").write_text("\n".join(CAPTIONS))
    weight_file(folder)
    (folder / "photos").mkdir()
    for i in range(12):
        photo(folder / "photos" / f"{i}.png", seed=i)
    return folder


def fit(desk: Path, out: Path, *more: object):
    arguments = ["--backbone", desk / "tiny.safetensors", "--out", out, *more, *OPTIONS]
    return run("fit", "--classes", desk / "classes.txt", *arguments)


def test_fit_writes_a_tagger_and_an_account(desk, tmp_path) -> None:
    code, out, err = fit(desk, tmp_path / "mine", "--captions", desk / "corpus.txt")
    assert code == 0, err
    tagger = Tagger.load(tmp_path / "mine")
    assert tagger.classes_.tolist() == CLASSES
    assert "3 classes, tiny" in out
    assert "40 captions name none of the classes" in out
    assert "calibrated on captions" in out
    assert f"tai-dpt tag {tmp_path / 'mine'}" in out
    assert "learning from" in err
    code, _, err = fit(desk, tmp_path / "mine", "--captions", desk / "corpus.txt")
    assert code == 2
    assert "holds a tagger already" in err


def test_fit_without_captions_says_so(desk, tmp_path) -> None:
    code, out, err = fit(desk, tmp_path / "mine", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["captions"]["written_from_templates"]
    assert "no --captions: learning from captions that are written from templates" in err
    assert len(facts["backbone"]["weights_sha256"]) == 64


def test_quiet_means_quiet(desk, tmp_path) -> None:
    code, out, err = fit(desk, tmp_path / "mine", "--captions", desk / "corpus.txt", "--quiet")
    assert (code, err) == (0, "")
    assert "3 classes" in out  # the result stays


def test_bad_input_is_one_line(desk, tmp_path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n")
    (tmp_path / "latin.txt").write_bytes("un café\n".encode("latin1"))
    base = ["--backbone", desk / "tiny.safetensors", "--out", tmp_path / "x"]
    cases = {
        ("--classes", tmp_path / "none.txt"): "no class names in it; write one name a line",
        ("--classes", tmp_path / "gone.txt"): "no such class list",
        ("--classes", "coco2015"): "did you mean 'coco2014'?",
        (
            "--classes",
            desk / "classes.txt",
            "--captions",
            tmp_path / "latin.txt",
        ): "latin.txt is not UTF-8: byte 6 (line 1) cannot be decoded; convert it, e.g. iconv",
    }
    for arguments, message in cases.items():
        code, _, err = run("fit", *arguments, *base)
        assert code == 2
        assert message in err
        assert err.count("\n") <= 2
    assert not (tmp_path / "x").exists()


def test_calibrate_on_unlabelled_images(desk, tmp_path) -> None:
    out = tmp_path / "mine"
    fit(desk, out, "--captions", desk / "corpus.txt", "--quiet")
    before = (out / "tagger.json").read_text()
    code, said, err = run("calibrate", out, "--images", desk / "photos", "--dry-run")
    assert code == 0, err
    assert (out / "tagger.json").read_text() == before
    code, said, _ = run("calibrate", out, "--images", desk / "photos")
    assert "brought into line with 12 unlabelled images, expecting 1.5 of the" in said
    tagger = Tagger.load(out)
    assert tagger.calibration.source == SOURCES[1]
    expected = tagger.predict_proba(sorted((desk / "photos").iterdir())).sum(1).mean()
    assert expected == pytest.approx(tagger.calibration.cardinality, abs=0.01)
    run("calibrate", out, "--images", desk / "photos", "--expect", 0.5)
    expected = Tagger.load(out).predict_proba(sorted((desk / "photos").iterdir())).sum(1).mean()
    assert expected == pytest.approx(0.5, abs=0.01)
    code, _, err = run("calibrate", out, "--images", desk / "photos", "--expect", 7)
    assert (code, "less than 3, the number of classes" in err) == (2, True)


def test_calibrate_on_labelled_images(desk, tmp_path) -> None:
    out = tmp_path / "mine"
    fit(desk, out, "--captions", desk / "corpus.txt", "--quiet")
    rows = [f"photos/{i}.png,{'dog;car' if i % 3 else 'traffic light'}" for i in range(12)]
    table = desk / "labels.csv"
    table.write_text("file,labels\n" + "\n".join(rows) + "\n")
    code, said, err = run("calibrate", out, "--labelled", table, "--json")
    assert code == 0, err
    assert json.loads(said)["positives"] == [8, 8, 4]
    tagger = Tagger.load(out)
    assert tagger.calibration.source == SOURCES[2]
    p = tagger.predict_proba([desk / "photos" / f"{i}.png" for i in range(12)])
    assert p.mean(0) == pytest.approx(np.array([8, 8, 4]) / 12, abs=0.15)

    code, said, err = run("calibrate", out, "--labelled", table, "--per-class")
    assert (code, "thresholds" in (out / "tagger.json").read_text()) == (0, True), err
    assert "no class has a threshold of its own: that takes 10 images" in said  # there are four
    assert "from a probability of" in said  # the common one
    assert run("calibrate", out, "--images", desk / "photos", "--per-class")[0] == 2

    for content, message in (
        ("file,labels\nphotos/0.png,dgo\n", "did you mean 'dog'"),
        ("file,labels\nphotos/99.png,dog\n", "99.png, which is not there"),
        (f"file,labels\n{'x' * 300}.png,dog\n", "x.png, which is not there"),
        ("file,labels\nphotos,dog\n", "photos, which is a folder, not an image"),
        ("file,labels\nbad.csv,dog\n", "bad.csv: none of the 1 images that it names can be read"),
        ("file,labels\n", "bad.csv"),
    ):
        (desk / "bad.csv").write_text(content)
        code, _, err = run("calibrate", out, "--labelled", desk / "bad.csv")
        assert code == 2
        assert message in err


def test_labels_of_every_form_calibrate_once_they_are_explained(desk, tmp_path) -> None:
    out, table = tmp_path / "mine", desk / "forms.csv"
    fit(desk, out, "--captions", desk / "corpus.txt", "--quiet")

    def written(header: str, cells: list[str]) -> None:
        rows = [f"photos/{i}.png,{cells[i % len(cells)]}" for i in range(12)]
        table.write_text(f"file,{header}\n" + "\n".join(rows) + "\n")

    def positives(*options: object) -> list[int]:
        code, said, err = run("calibrate", out, "--labelled", table, "--json", *options)
        assert code == 0, err
        return json.loads(said)["positives"]

    def refusal(*options: object) -> str:
        code, _, err = run("calibrate", out, "--labelled", table, *options)
        assert code == 2 and "DATASET." not in err
        return err

    names = "dog,car,traffic light"
    written(names, ["0.9,0.2,0.6", "0.1,0.7,0.4"])
    assert "--present-from" in refusal()
    assert positives("--present-from", 0.5) == [6, 6, 6]
    assert positives("--present-from", 0.8) == [6, 0, 0]
    assert "--present-from is 3.0; it must lie" in refusal("--present-from", 3)
    written(names, ["1,0,-1", "0,1,1"])
    assert "say with --zero what a 0 is" in refusal()
    assert positives("--zero", "unknown") == positives("--zero", "absent") == [6, 6, 6]
    assert "unknown meaning of 0 (--zero) 'none'" in refusal("--zero", "none")
    written(f"{names},weather", ["1,0,0,sun", "0,1,1,rain"])
    assert "--skip-columns names the columns" in refusal()
    assert positives("--skip-columns", "weather") == [6, 6, 6]
    written("labels", ["dog + car", "traffic light"])
    assert positives("--separator", "+") == [6, 6, 6]
    code, _, err = run("calibrate", out, "--images", desk / "photos", "--zero", "absent")
    assert (code, "--zero goes with --labelled" in err) == (2, True)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("--method comc TRAINER.TAIDPT.N_CTX 4", "comc: it is for --method tai-dpt, mix; leave"),
        (
            "--method concepts OPTIM.LR 0.1",
            "concepts: it is for --method tai-dpt, comc, mix; leave",
        ),
        ("--method mix TRAINER.DUALCOOP.N_CTX 4", "for the trainer DualCoOp of tai-dpt train"),
        ("DATASET.NUM_SHOTS 3", "for none of fit's methods; leave DATASET.NUM_SHOTS out"),
        ("SEED 3", "SEED is what --seed says: ask for that"),
        ("TEST.SPLIT val", "TEST.SPLIT is for runs on a benchmark"),
        ("--epochs 2 OPTIM.MAX_EPOCH 3", "say the same: leave one of them out"),
        ("--method comc --config TaIDPT/rn50.yaml", "rn50.yaml is a recipe of TaIDPT"),
        ("--method mix --config DualCoOp/rn101.yaml", "a file below configs/trainers/TaIDPT"),
        ("DATASET.CORPUS.FORMAT text", "give --captions, or leave DATASET.CORPUS.FORMAT out"),
    ],
)
def test_options_of_another_method_are_refused(desk, tmp_path, asked, message) -> None:
    words = [str(ROOT / "configs/trainers" / w) if w.endswith("l") else w for w in asked.split()]
    captions = () if "CORPUS" in asked else ("--captions", desk / "corpus.txt")
    given = ("--classes", desk / "classes.txt", *captions, "--out", tmp_path / "x")
    code, _, err = run("fit", *given, "--backbone", desk / "tiny.safetensors", *words)
    assert (code, message in err, err.count("\n")) == (2, True, 0), err
    assert not (tmp_path / "x").exists()


def test_the_backbone_is_the_recipes_where_none_is_named(tmp_path) -> None:
    (tmp_path / "own.yaml").write_text("MODEL: {BACKBONE: {NAME: ViT-B/16}}\n")
    shipped = ROOT / "configs/trainers/TaIDPT/emoji_scenes.yaml"
    assert named_backbone(None, tmp_path / "own.yaml") == "ViT-B/16"
    assert named_backbone("RN101", tmp_path / "own.yaml") == "RN101"
    assert named_backbone(None, None) == "RN50"
    assert named_backbone(None, shipped) == named_backbone("emoji_scenes", None)


@needs_pipes
def test_fit_reads_captions_from_a_pipe(desk, tmp_path) -> None:
    with handed_over((desk / "corpus.txt").read_text()) as pipe:
        code, _, err = fit(desk, tmp_path / "piped", "--captions", pipe, "--quiet")
    assert code == 0, err
    fit(desk, tmp_path / "read", "--captions", desk / "corpus.txt", "--quiet")
    piped, read = (Tagger.load(tmp_path / name) for name in ("piped", "read"))
    assert piped.provenance["captions"] == read.provenance["captions"]


def test_every_command_has_help_with_examples() -> None:
    for command in ("fit", "tag", "explain", "calibrate", "export", "page"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"tai-dpt {command} " in out


def test_one_class(desk, tmp_path) -> None:
    (tmp_path / "dog.txt").write_text("dog\n")
    flags = ("--classes", tmp_path / "dog.txt", "--backbone", desk / "tiny.safetensors")
    flags += ("--captions", desk / "corpus.txt", "--out", tmp_path / "one", *OPTIONS)
    code, said, err = run("fit", *flags)
    assert code == 0, err
    assert "every caption names every class" in err
    assert run("tag", tmp_path / "one", desk / "photos", "--json")[0] == 0
    table = desk / "dogs.csv"
    table.write_text("file,dog\n" + "".join(f"photos/{i}.png,{i % 2}\n" for i in range(12)))
    code, said, err = run("calibrate", tmp_path / "one", "--labelled", table)
    assert code == 0, err
    assert "calibrated on labelled images: 12 images with 0.5 classes each" in said
    assert run("tag", tmp_path / "one", desk / "photos", "--threshold", 0.5)[0] == 0


def test_calibrate_names_the_image_of_a_score_that_is_not_finite(desk, tmp_path, monkeypatch):
    out = tmp_path / "mine"
    fit(desk, out, "--captions", desk / "corpus.txt", "--quiet")
    before = (out / "tagger.json").read_text()

    def diverged(self, features, *, sharpness):
        scores = np.full((len(features.global_), 3), np.nan, np.float32)
        return Scores(torch.from_numpy(scores), torch.from_numpy(scores))

    monkeypatch.setattr(Tagger, "score_features", diverged)
    code, _, err = run("calibrate", out, "--images", desk / "photos")
    assert code == 2
    assert "scores are not finite, the first is nan, of image" in err
    assert "0.png', class 'dog'" in err
    assert (out / "tagger.json").read_text() == before


def test_several_caption_files_are_read_together(desk, tmp_path) -> None:
    (tmp_path / "more.txt").write_text("a dog\n" * 50 + "the sea\n" * 7)
    files = ("--captions", desk / "corpus.txt", "--captions", tmp_path / "more.txt")
    code, out, err = fit(desk, tmp_path / "mine", *files, "--json")
    assert code == 0, err
    counts = json.loads(out)["captions"]
    assert counts["learned_from"] + counts["held_out"] >= 200 + 50
    assert counts["naming_no_class"] == 40 + 7
    one = json.loads(run("calibrate", tmp_path / "mine", *files[:2], "--json")[1])
    both = json.loads(run("calibrate", tmp_path / "mine", *files, "--json")[1])
    assert both["positives"] == [one["positives"][0] + 50, *one["positives"][1:]]


@pytest.mark.parametrize("command", ["fit", "calibrate", "explain", "tag"])
def test_a_device_that_is_not_there_is_one_line(command, desk, tmp_path) -> None:
    out = tmp_path / "mine"
    assert fit(desk, out, "--device", "CPU", "--quiet")[0] == 0
    arguments = {
        "fit": ("--classes", desk / "classes.txt", "--out", tmp_path / "other", *OPTIONS),
        "calibrate": (out, "--images", desk / "photos"),
        "explain": (out, "--text", "a dog"),
        "tag": (out, desk / "photos"),
    }[command]
    small = ("--backbone", desk / "tiny.safetensors")
    for asked, message in (("cuda:99", "device 'cuda:99'"), ("cdua", "did you mean 'cuda'?")):
        code, _, err = run(command, *arguments, *small, "--device", asked)
        assert code == 2
        assert message in err.splitlines()[-1]
    assert run(command, *arguments, *small, "--device", "auto")[0] == 0
