"""Files that version 0.1 wrote are read, and say the same (the rule is in docs/file-formats.md)."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from tai_dpt import Tagger
from tai_dpt.features import FeatureStore
from tai_dpt.features.build import StorePlan
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.packed import PackedFeatures
from tai_dpt.scoring.results import ScoreTable, whole_results
from tai_dpt.toolbox import load_checkpoint

from places import ROOT, TESTS

OLD = TESTS / "reference/v0.1"
WORLD = ROOT / "data/emoji_scenes"
EXPECTED = json.loads((OLD / "expected.json").read_text())


def test_a_tagger():
    tagger = Tagger.load(OLD / "tagger", backbone=WORLD / "clip.safetensors")
    images = [WORLD / "images/test" / name for name in EXPECTED["images"]]
    np.testing.assert_allclose(tagger.predict_proba(images), EXPECTED["probabilities"], atol=1e-4)
    scores = tagger.caption_scores([EXPECTED["caption"]])[0]
    np.testing.assert_allclose(scores, EXPECTED["caption_scores"], atol=1e-4)


def test_scores_and_results():
    table = ScoreTable.load(OLD / "run/scores.npz")
    assert len(table.ids) == 40 and len(table.class_names) == 64
    np.testing.assert_allclose(table.of("merged")[0], EXPECTED["merged_row_0"], atol=1e-4)
    results = whole_results(OLD / "run/results.json")
    assert results["mAP"] == EXPECTED["mAP"] and results["trainer"] == "TaIDPT"


def test_a_checkpoint():
    content = load_checkpoint(str(OLD / "run/prompt_learner/model.pth.tar-1"))
    assert content["epoch"] == 1
    assert content["state_dict"]["ctx_global"].shape == (4, 128)


def test_a_feature_store():
    store = FeatureStore.open(OLD / "store", key={"kind": "captions", "weights": "0" * 8})
    with np.load(OLD / "store_rows.npz") as rows:
        for index, name in enumerate(rows.files):
            features = store.packed([index])
            torch.testing.assert_close(
                features.local, torch.from_numpy(rows[name]), atol=1e-3, rtol=0
            )


@pytest.mark.parametrize("name", ["tagger/tagger.json", "run/results.json"])
def test_they_name_no_folder_of_the_machine_that_wrote_them(name):
    assert str(ROOT) not in (OLD / name).read_text()


def test_the_page_of_formats_names_every_part():
    page = (ROOT / "docs/file-formats.md").read_text()
    parts = set(json.loads((OLD / "tagger/tagger.json").read_text()))
    parts |= set(json.loads((OLD / "store/manifest.json").read_text())) - {"format"}
    parts |= set(load_checkpoint(str(OLD / "run/prompt_learner/model.pth.tar-1")))
    with np.load(OLD / "run/scores.npz") as scores:
        parts |= set(scores.files)
    parts |= {path.name for path in OLD.rglob("*.*") if path.suffix != ".tar-1"}
    parts -= {"expected.json", "store_rows.npz"}
    assert {part for part in parts if f"`{part}`" not in page} == set()


def test_a_feature_store_goes_on_in_the_present_format(tmp_path):
    """A shard that version 0.1 lost is made as today's; the others stay."""
    shutil.copytree(OLD / "store", tmp_path / "store")
    manifest = json.loads((tmp_path / "store/manifest.json").read_text())
    with np.load(OLD / "store_rows.npz") as rows:
        kept = [torch.from_numpy(rows[name]).float() for name in rows.files]
    (tmp_path / "store/shard-00000.bin").unlink()

    def encode(indices):
        parts = [kept[i] for i in indices]
        lengths = torch.tensor([len(part) for part in parts])
        local = torch.nn.functional.normalize(torch.cat(parts), dim=1)
        return PackedFeatures(local[lengths.cumsum(0) - 1], local, lengths)

    with pytest.warns(UserWarning, match=r"shard-00000.safetensors: it is missing; making it"):
        store = StorePlan(
            key=manifest["identity"]["key"],
            count=len(kept),
            embed_dim=kept[0].shape[1],
            encode=encode,
            lengths=[len(part) for part in kept],
            global_is_last=True,
            options=StoreOptions(directory=tmp_path / "store", progress=None),
        ).open()
    torch.testing.assert_close(store.packed([0]).local, kept[0], atol=1e-3, rtol=0)
    assert [path.name for path in (tmp_path / "store").glob("shard-*")] == [
        "shard-00000.safetensors"
    ]
