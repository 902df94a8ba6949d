"""``docs/tai_dpt_on_one_page.py`` computes what the trainer computes, from captions to mAP."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tai_dpt.backbones.building import build_clip
from tai_dpt.backbones.weights import read_state_dict
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.labels.filter import NounFilter
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.run import build_parser, run, setup_cfg
from tai_dpt.trainers.tai_dpt import TaIDPT

import worlds
from places import ROOT
from reference import load_golden, relative_error

PAGE = ROOT / "docs/tai_dpt_on_one_page.py"
WORLD = ROOT / "data/emoji_scenes"


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("tai_dpt_on_one_page", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def clip(world):
    return build_clip(read_state_dict(world / "tiny/clip.safetensors"))


def prompts_of(page, clip, names, contexts):
    prompts = torch.nn.ModuleList(page.Prompt(clip, names, M=len(c)) for c in contexts)
    with torch.no_grad():
        for prompt, context in zip(prompts, contexts, strict=True):
            prompt.context.copy_(context)
    return prompts


def pixels(paths, preprocessing):
    return torch.stack([preprocessing(Image.open(path).convert("RGB")) for path in paths])


def test_it_is_a_page():
    lines = PAGE.read_text().splitlines()
    assert len(lines) <= 120 and max(map(len, lines)) <= 100
    assert "tai_dpt" not in [word for line in lines if "import" in line for word in line.split()]


def test_the_public_codes_figures(page, clip, golden_inputs):
    golden = load_golden("tai_dpt_cscFalse_end")
    prompts = prompts_of(page, clip, golden_inputs.classes, (golden.ctx_global, golden.ctx_local))
    G, L = (prompt() for prompt in prompts)
    captions = page.caption_features(clip, golden_inputs.captions)
    whole, local = page.scores(captions, G, L, sharpness=50)
    assert relative_error(whole, golden.text_global_scores) < 1e-5
    assert relative_error(local, golden.text_local_scores) < 1e-5
    loss = sum(page.ranking_loss(s, golden_inputs.labels > 0) for s in (whole, local))
    assert relative_error(loss, golden.loss) < 1e-5
    for prefix, images in (("", golden_inputs.images), ("large_", golden_inputs.large_images)):
        features = page.image_features(clip, images)
        for kind, ours in zip(("global", "local"), page.scores(features, G, L, 40), strict=True):
            assert relative_error(ours, getattr(golden, f"{prefix}image_{kind}_scores")) < 1e-5


def test_the_trainers_losses_and_scores(page, clip, world, tmp_path, monkeypatch):
    """The whole loop: one batch an epoch, so that the order of captions makes no difference."""
    seen: list[float] = []
    learned: list[torch.Tensor] = []
    step = TaIDPT.forward_backward

    def watched(trainer, batch):
        if not seen:
            learned.extend(p.detach().clone() for p in trainer.model.parameters())
        logged = step(trainer, batch)
        seen.append(logged["loss"])
        return logged

    monkeypatch.setattr(TaIDPT, "forward_backward", watched)
    options = ("TRAINER.TAIDPT.N_CTX", 4, "DATALOADER.TRAIN_X.BATCH_SIZE", 1024)
    options += ("OPTIM.MAX_EPOCH", 5, "OPTIM.LR", 0.05, "OPTIM.LR_SCHEDULER", "cosine")
    options += ("OPTIM.WARMUP_EPOCH", 1, "OPTIM.WARMUP_CONS_LR", 1e-5, "OPTIM.WEIGHT_DECAY", 5e-4)
    options += ("FEATURES.PRECISION", "fp32")
    arguments = worlds.arguments(world, "TaIDPT", tmp_path, *options)
    trainer = run(setup_cfg(build_parser().parse_args(arguments)))
    corpus = trainer.dataset.corpus

    prompts = prompts_of(page, clip, worlds.CLASSES, learned)
    features = page.caption_features(clip, list(corpus.texts))
    labels = torch.from_numpy(corpus.labels.toarray()) > 0
    losses = page.learn(prompts, features, labels, epochs=5, batch=1024, lr=0.05)
    np.testing.assert_allclose(losses, seen, rtol=1e-5)
    assert losses[-1] < 0.98 * losses[0]

    table = ScoreTable.load(tmp_path / "scores.npz")
    images = pixels(trainer.dataset.test.paths, trainer.preprocessing)
    G, L = (prompt().detach() for prompt in prompts)
    whole, local = page.scores(page.image_features(clip, images), G, L, sharpness=40)
    assert relative_error(whole, torch.from_numpy(table.of("global"))) < 1e-4
    assert relative_error(local, torch.from_numpy(table.of("local"))) < 1e-4


def test_its_labels_are_nearly_the_noun_filters(page):
    """It knows neither "people" nor that a hot dog is no dog; all else is the same."""
    vocabulary = load_vocabulary(WORLD / "classes.yaml")
    content = json.loads((WORLD / "annotations/captions_train.json").read_text())
    captions = [entry["caption"] for entry in content["annotations"][:1000]]
    labels = page.labels_of(captions, vocabulary.synonyms)
    filtered = torch.zeros_like(labels)
    for row, classes in enumerate(NounFilter(vocabulary=vocabulary).labels(captions)):
        filtered[row, list(classes)] = True
    both = (labels & filtered).sum()
    assert both > 0.95 * labels.sum() and both > 0.95 * filtered.sum()
