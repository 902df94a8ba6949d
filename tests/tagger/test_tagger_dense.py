"""Which local features a tagger of a vision transformer has, on disk and at test."""

from __future__ import annotations

import json

import pytest
import torch

from tai_dpt.backbones import load_backbone
from tai_dpt.errors import InputError
from tai_dpt.tagger.tagger import PromptTagger

from clips import tiny_clip
from taggers import photo


@pytest.fixture
def folder(tmp_path):
    """A saved tagger, learned with the dense option ``qk``."""
    weights = tmp_path / "vit.pt"
    torch.save(tiny_clip("vit").state_dict(), weights)
    backbone = load_backbone(weights, dense="qk")
    classes = torch.nn.functional.normalize(torch.eye(3, backbone.embed_dim), dim=-1)
    PromptTagger(
        backbone=backbone,
        class_names=["a", "b", "c"],
        embeddings={"global": classes, "local": classes},
        contexts={},
        backbone_file=weights,
    ).save(tmp_path / "tagger")
    return tmp_path / "tagger"


def test_the_folder_keeps_the_dense_option_and_a_user_may_change_it(folder, tmp_path):
    tagger = PromptTagger.load(folder)
    assert tagger.backbone.dense == "qk"
    image = photo(tmp_path / "photo.png")
    before = {kind: tagger.scores(image, kind=kind) for kind in ("global", "local")}
    tagger.backbone.dense = "neighbours"
    assert (tagger.scores(image, kind="local") != before["local"]).any()
    assert tagger.scores(image, kind="global") == pytest.approx(before["global"], abs=1e-5)


def test_a_folder_from_before_there_was_a_choice_has_the_value_path(folder):
    about = folder / "tagger.json"
    content = json.loads(about.read_text())
    del content["backbone"]["dense"]
    about.write_text(json.dumps(content))
    assert PromptTagger.load(folder).backbone.dense == "value"


def test_an_unknown_option_in_the_folder_is_refused(folder):
    about = folder / "tagger.json"
    content = json.loads(about.read_text())
    content["backbone"]["dense"] = "queries"
    about.write_text(json.dumps(content))
    with pytest.raises(InputError, match="unknown dense option"):
        PromptTagger.load(folder)
