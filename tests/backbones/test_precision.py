"""Frozen towers in half the bits: class embeddings, scores and loss stay in fp32."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors.torch import save_file

from tai_dpt import distributed
from tai_dpt.backbones import load_backbone, precision
from tai_dpt.backbones.precision import choose_precision
from tai_dpt.prompts.learner import PromptEncoder, PromptLearner, class_tokens
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import score
from tai_dpt.trainers.features import settle_precision
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds
from clips import golden_state
from reference import load_golden

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# largest deviation from fp32, relative to the largest value: forward, gradients
TOLERANCE = {"bf16": (0.03, 0.1), "fp16": (0.005, 0.03)}


def close(ours: torch.Tensor, reference: torch.Tensor, tolerance: float) -> bool:
    return bool((ours - reference).abs().max() <= tolerance * reference.abs().max())


@pytest.fixture(scope="module", params=HALVES)
def half(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "clip.safetensors"
    save_file(golden_state(), path)
    return request.param, load_backbone(path, dtype=HALVES[request.param])


def golden_learner(backbone, classes) -> PromptLearner:
    golden = load_golden("tai_dpt_cscFalse_end")
    encoder = PromptEncoder(
        text=backbone.text,
        classes=class_tokens(classes, backbone.tokenize),
        start_id=backbone.tokenize([""])[0][0],
        n_ctx=4,
    )
    learner = PromptLearner(
        encoder=encoder, names=("global", "local"), class_names=classes, n_ctx=4
    )
    with torch.no_grad():
        learner.ctx_global.copy_(golden.ctx_global)
        learner.ctx_local.copy_(golden.ctx_local)
    return learner


def test_half_precision_stays_close_to_the_golden_figures(half, golden_inputs):
    name, backbone = half
    forward, gradient = TOLERANCE[name]
    golden = load_golden("tai_dpt_cscFalse_end")
    learner = golden_learner(backbone, golden_inputs.classes)
    prompts = learner()
    captions = backbone.encode_texts(backbone.tokenize(golden_inputs.captions))
    scores = score(captions, prompts["global"], prompts["local"], scale=4, sharpness=50)
    for value in (*prompts.values(), captions.local, scores.global_, scores.local):
        assert value.dtype == torch.float32
    loss = sum(ranking_loss(s, golden_inputs.labels) for s in (scores.global_, scores.local))
    loss.backward()
    assert close(scores.global_, golden.text_global_scores, forward)
    assert close(scores.local, golden.text_local_scores, forward)
    assert close(loss, golden.loss, forward)
    assert close(learner.ctx_global.grad, golden.grad_global, gradient)
    assert close(learner.ctx_local.grad, golden.grad_local, gradient)


def test_tiny_gradients_survive_half_precision(half, golden_inputs):
    """1e-12 is below what fp16 can hold at all."""
    name, backbone = half
    gradients = []
    for size in (1.0, 1e-12):
        learner = golden_learner(backbone, golden_inputs.classes)
        (size * learner()["global"][:, 0].sum()).backward()
        gradients.append(learner.ctx_global.grad / size)
    assert close(gradients[1], gradients[0], TOLERANCE[name][1])


def test_training_in_bf16_ends_where_fp32_ends(tmp_path):
    world = worlds.write_world(tmp_path / "world")
    contexts = {}
    for name in ("fp32", "bf16"):
        argv = worlds.arguments(
            world,
            "TaIDPT",
            tmp_path / name,
            *("TRAINER.TAIDPT.N_CTX", 4, "OPTIM.LR", 0.001, "OPTIM.MAX_EPOCH", 2),
            *("TRAINER.TAIDPT.PREC", name),
        )
        trainer = run(setup_cfg(build_parser().parse_args(argv)))
        contexts[name] = trainer.model.ctx_local.detach()
        assert contexts[name].dtype == torch.float32
        assert trainer.backbone.dtype == (torch.bfloat16 if name == "bf16" else torch.float32)
    start = untrained_local_context()
    moved = contexts["fp32"] - start
    off = (contexts["bf16"] - contexts["fp32"]).norm()
    assert off < 0.25 * moved.norm()  # 0.17; these weights are random, so paths part quickly


@pytest.mark.parametrize(
    ("bf16", "chosen"), [(0.25, "bf16"), (0.9, "fp32"), (1.0, "fp32"), (1.6, "fp32")]
)
def test_auto_takes_what_this_processor_is_fast_at(monkeypatch, bf16, chosen):
    monkeypatch.setattr(precision, "_product", {"fp32": 1.0, "bf16": bf16, "fp16": 4.0}.get)
    assert choose_precision("auto", torch.device("cpu")) == chosen
    assert choose_precision("auto", torch.device("mps")) == "fp32"


@pytest.mark.parametrize("native", [True, False])
def test_auto_on_cuda_asks_the_card(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_precision("auto", torch.device("cuda")) == ("bf16" if native else "fp32")


def test_one_that_is_slow_here_is_said_with_figures(monkeypatch):
    monkeypatch.setattr(precision, "_product", {"fp32": 0.002, "bf16": 0.001, "fp16": 0.008}.get)
    with pytest.warns(UserWarning, match=r"fp16 is slow .* 8\.0 ms, in fp32 2\.0 ms"):
        assert choose_precision("fp16", torch.device("cpu")) == "fp16"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_precision("bf16", torch.device("cpu")) == "bf16"


def test_a_product_takes_time():
    assert 0 < precision._product("fp32") < 5


def test_records_say_what_auto_was(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_product", {"fp32": 1.0, "bf16": 0.5}.get)
    world = worlds.write_world(tmp_path / "world")
    options = ("TRAINER.ZSCLIP.PREC", "auto")
    argv = worlds.arguments(world, "ZSCLIP", tmp_path / "run", *options)
    trainer = run(setup_cfg(build_parser().parse_args(argv)))
    assert trainer.backbone.dtype == torch.bfloat16
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["config"]["TRAINER"]["ZSCLIP"]["PREC"] == "bf16"


def test_several_processes_run_in_what_the_first_is_fast_at(monkeypatch, tmp_path):
    """Each has measured for itself; one that took another would build other features."""
    world = worlds.write_world(tmp_path / "world")
    argv = worlds.arguments(world, "ZSCLIP", tmp_path / "run", "TRAINER.ZSCLIP.PREC", "auto")
    monkeypatch.setattr(precision, "_product", {"fp32": 1.0, "bf16": 0.5}.get)
    cfg = setup_cfg(build_parser().parse_args(argv))
    assert cfg.TRAINER.ZSCLIP.PREC == "bf16"
    monkeypatch.setattr(distributed, "gather", lambda own: ["fp32", own])
    settle_precision(cfg, torch.device("cpu"))
    assert cfg.TRAINER.ZSCLIP.PREC == "fp32"


def untrained_local_context() -> torch.Tensor:
    """The local context before training: seed 1's."""
    generator = torch.Generator().manual_seed(1)
    torch.empty(4, 64).normal_(std=0.02, generator=generator)  # the global one comes first
    return torch.empty(4, 64).normal_(std=0.02, generator=generator)
