"""``tai-dpt adapt``: a patch classifier from unlabelled photos, in a tagger like any other."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tai_dpt import Tagger
from tai_dpt.errors import InputError
from tai_dpt.features import Features
from tai_dpt.io.images import as_image
from tai_dpt.scoring.calibration import SOURCES
from tai_dpt.scoring.patch_classifier import SETTINGS, PatchClassifier
from tai_dpt.tagger.adapting import adapt

from taggers import CAPTIONS, OPTIONS, run, tagger_and_photos, weight_file

pytestmark = pytest.mark.filterwarnings("ignore:.*few to adapt")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return tagger_and_photos(tmp_path_factory.mktemp("desk"), 10)


def photos(desk) -> list:
    return sorted((desk / "photos").iterdir())


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_is_the_patch_classifier_of_the_taggers_own_embeddings(desk, tmp_path, setting):
    code, out, err = run(
        *("adapt", desk / "tagger", desk / "photos", "--setting", setting),
        *("--out", tmp_path / "new", "--batch-size", 4, "--json"),
    )
    assert code == 0, err
    facts = json.loads(out)
    assert facts["images"] == 10 and not (tmp_path / "new.part").exists()
    before, after = Tagger.load(desk / "tagger"), Tagger.load(tmp_path / "new")
    assert after.method.name == "piaa" and after.method.setting == setting
    pixels = torch.stack([before.preprocessing(as_image(path)) for path in photos(desk)])
    parts = [before.backbone.encode_images(p, position_embedding=False) for p in pixels.split(4)]
    constants, embeddings = SETTINGS[setting], before.embeddings
    pool = (features.local.flatten(0, 1) for features in parts)
    classifier = PatchClassifier.fit(embeddings["local"], pool, setting=constants)
    whole = Features(*(torch.cat([getattr(f, n) for f in parts]) for n in Features.__annotations__))
    expected = classifier.scores(whole, embeddings["global"], setting=constants)
    np.testing.assert_allclose(after.scores(photos(desk)), expected.merged, atol=1e-4)
    assert sum(facts["patches"].values()) == whole.local.shape[0] * whole.local.shape[1]
    assert facts["without_patches"] == [n for n, k in facts["patches"].items() if not k]
    heat = after.heatmap(photos(desk)[0], "dog")
    assert np.isfinite(heat).all() and heat.std() > 0


def test_probabilities_follow_what_was_said_before_and_words_are_refused(desk, tmp_path):
    assert run("adapt", desk / "tagger", desk / "photos", "--out", tmp_path / "new")[0] == 0
    before, after = Tagger.load(desk / "tagger"), Tagger.load(tmp_path / "new")
    if after.calibration is not None:
        said = before.predict(photos(desk), output="indicator")
        assert after.calibration.source == SOURCES[3]
        assert after.calibration.positives == tuple(said.sum(0))
    assert "calibration_on_captions" not in after.provenance
    for asked in (("explain", "--text", "a dog"), ("calibrate", "--images", desk / "photos")):
        code, _, err = run(asked[0], tmp_path / "new", *asked[1:])
        assert code == 2 and "knows no words" in err
    assert run("tag", tmp_path / "new", desk / "photos/0.png", "--top", 1)[0] == 0
    assert run("export", tmp_path / "new", "--out", tmp_path / "service")[0] == 0


def test_an_interrupted_run_goes_on_to_the_same(desk, tmp_path):
    tagger, part = Tagger.load(desk / "tagger"), tmp_path / "new.part"
    whole = adapt(tagger, photos(desk), batch_size=3)

    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(tagger, photos(desk), batch_size=3, unfinished=part, progress=stop)
    assert part.exists()
    seen = []
    again = adapt(
        *(tagger, photos(desk)),
        **{"batch_size": 3, "unfinished": part, "progress": lambda done, total: seen.append(done)},
    )
    assert seen[0] == 6 and again.images == 10
    assert torch.equal(again.tagger.embeddings["weight"], whole.tagger.embeddings["weight"])
    with pytest.raises(InputError, match="of another tagger, other images"):
        adapt(tagger, photos(desk)[:5], batch_size=3, unfinished=part)
    shutil.copy(part, tmp_path / "out.part")
    given = ("adapt", desk / "tagger", desk / "photos", "--out", tmp_path / "out")
    code, _, err = run(*given)
    assert code == 2 and "add --resume to go on with it" in err
    assert run(*given, "--resume", "--batch-size", 3)[0] == 0


def test_what_it_refuses(desk, tmp_path):
    given = ("adapt", desk / "tagger")
    code, _, err = run(*given, desk / "photos", "--out", desk / "tagger", "--overwrite")
    assert code == 2 and "is what is read" in err
    (tmp_path / "empty").mkdir()
    assert run(*given, tmp_path / "empty", "--out", tmp_path / "a")[0] == 2
    (tmp_path / "bad.png").write_text("no image")
    code, _, err = run(*given, tmp_path / "bad.png", "--out", tmp_path / "b")
    assert code == 2 and "none of 1 images can be read" in err and not (tmp_path / "b").exists()
    code, _, err = run(*given, desk / "photos", "--out", tmp_path / "c", "--setting", "coco")
    assert code == 2
    with pytest.raises(InputError, match="unknown setting of the patch classifier 'coco'"):
        adapt(Tagger.load(desk / "tagger"), photos(desk), setting="coco")
    alone = Tagger.from_captions(
        classes=["dog"], captions=CAPTIONS, backbone=weight_file(tmp_path), options=OPTIONS
    )
    with pytest.raises(InputError, match="tells classes apart, and there is one"):
        adapt(alone, photos(desk))


def test_the_view_and_the_backbone_are_the_users_choice(desk, tmp_path):
    given = ("adapt", desk / "tagger", desk / "photos", "--view", "whole")
    code, _, err = run(*given, "--out", tmp_path / "new", "--no-backbone")
    assert code == 0, err
    assert not (tmp_path / "new/backbone.safetensors").exists()
    new, old = Tagger.load(tmp_path / "new"), Tagger.load(desk / "tagger")
    assert (new.preprocessing.view, old.preprocessing.view) == ("whole", "center")
    assert not torch.equal(
        new.embeddings["weight"], adapt(old, photos(desk)).tagger.embeddings["weight"]
    )


def test_photos_in_which_nothing_is_found_leave_no_probabilities(desk, tmp_path):
    tagger = Tagger.load(desk / "tagger")
    tagger.calibration = replace(tagger.calibration, threshold=1.0, standardised=False, slope=0.0)
    with pytest.warns(UserWarning, match="found none or all of its classes"):
        new = adapt(tagger, photos(desk)).tagger
    assert new.calibration is None and np.isfinite(new.scores(photos(desk))).all()
    new.save(tmp_path / "new")
    code, _, err = run("tag", tmp_path / "new", photos(desk)[0], "--threshold", 0.5)
    assert code == 2 and "never calibrated" in err


@pytest.mark.filterwarnings("default:.*few to adapt")
def test_one_photo_is_warned_of_and_no_label_is_read(desk, tmp_path):
    folder = tmp_path / "labelled"
    folder.mkdir()
    shutil.copy(photos(desk)[0], folder / "a.png")
    tagger = Tagger.load(desk / "tagger")
    with pytest.warns(UserWarning, match="1 image is few to adapt to"):
        plain = adapt(tagger, [folder / "a.png"])
    (folder / "labels.csv").write_text("file,labels\na.png,dog\n")
    code, _, err = run("adapt", desk / "tagger", folder, "--out", tmp_path / "new")
    assert code == 0, err
    assert "left aside: 1 .csv" in err
    new = Tagger.load(tmp_path / "new").embeddings["weight"]
    assert torch.equal(new, plain.tagger.embeddings["weight"].cpu())
