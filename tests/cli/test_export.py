"""``tai-dpt export``: the same scores without this package."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tai_dpt.backbones import Backbone, load_backbone
from tai_dpt.errors import InputError
from tai_dpt.tagger.exporting import compare_onnx, export_onnx
from tai_dpt.tagger.tagger import PromptTagger

import library_models
from clips import tiny_clip
from taggers import new_tagger, run


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    new_tagger(folder).save(folder / "tagger")
    return folder


def test_embeddings_and_facts_give_the_scores(desk, tmp_path) -> None:
    from tai_dpt import Tagger

    code, _, err = run("export", desk / "tagger", "--out", tmp_path / "service")
    assert code == 0, err
    tagger = Tagger.load(desk / "tagger")
    tensors = load_file(tmp_path / "service" / "class_embeddings.safetensors")
    facts = json.loads((tmp_path / "service" / "service.json").read_text())

    pixels = torch.randn(2, 3, *tagger.preprocessing.size)
    features = tagger.backbone.encode_images(pixels, position_embedding=False)
    g, local = features.global_.numpy(), features.local.numpy()
    scale, sharpness = facts["scores"]["scale"], facts["scores"]["sharpness"]
    a = local @ tensors["local"].numpy().T  # as service.json says it
    weights = np.exp(sharpness * (a - a.max(1, keepdims=True)))
    weights /= weights.sum(1, keepdims=True)
    merged = (scale * g @ tensors["global"].numpy().T + scale * (weights * a).sum(1)) / 2
    expected = tagger.score_features(features, sharpness=40.0).merged.numpy()
    np.testing.assert_allclose(merged, expected, atol=1e-5)
    how = facts["calibration"]
    probability = 1 / (1 + np.exp(-(how["slope"] * merged + np.array(how["offsets"]))))
    assert how["thresholds_of_classes"] == [how["threshold"]] * 3
    assert not how["standardise_each_image_over_classes_first"]
    np.testing.assert_allclose(probability, tagger.calibration.probabilities(expected), atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["resnet", "vit", "open_clip vit_average", "open_clip timm_siglip", "siglip"]
)
def test_onnx_runtime_agrees(kind, tmp_path) -> None:
    """Towers that libraries run, too."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    if kind in ("resnet", "vit"):
        backbone = Backbone(tiny_clip(kind), name=kind)
    elif kind == "siglip":
        pytest.importorskip("transformers")
        library_models.save_transformers(tmp_path, kind)
        backbone = load_backbone(f"transformers:{tmp_path}")
    else:
        pytest.importorskip("open_clip")
        folder = library_models.save_open_clip(tmp_path / "model", kind.split()[1])
        backbone = load_backbone(f"hf-hub:{folder}")
    embeddings = {
        name: torch.nn.functional.normalize(torch.randn(4, backbone.embed_dim), dim=-1)
        for name in ("global", "local")
    }
    tagger = PromptTagger(
        backbone=backbone, class_names=list("abcd"), embeddings=embeddings, contexts={}
    )
    export_onnx(tagger, tmp_path / "image.onnx")
    assert compare_onnx(tagger, tmp_path / "image.onnx") < 1e-4


def test_without_onnx_it_says_what_to_install(desk, tmp_path, monkeypatch) -> None:
    from tai_dpt import Tagger
    from tai_dpt.cli import export

    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tai-dpt\[onnx\]'"):
        export_onnx(Tagger.load(desk / "tagger"), tmp_path / "x.onnx")
