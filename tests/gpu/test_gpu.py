"""On CUDA everything is as on the CPU, to these tolerances, and a training step waits for nothing.

Skipped where there is no CUDA.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from tai_dpt import Tagger
from tai_dpt.backbones import load_backbone
from tai_dpt.io.history import read_history
from tai_dpt.prompts.learner import PromptEncoder, PromptLearner, class_tokens
from tai_dpt.scoring.losses import asymmetric_loss, ranking_loss
from tai_dpt.scoring.scores import dual_scores, score
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds
from taggers import new_tagger, photo, weight_file

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

# Largest deviation from the CPU's fp32, of the largest value. Those of half precision are five
# times what the CPU's own half precision deviates by on the same figures
# (benchmarks/RESULTS.md, g); TF32 has fp16's eleven bits.
TOLERANCES = {"fp32": 2e-5, "tf32": 1e-2, "bf16": 1e-1, "fp16": 1e-2}
GRADIENTS = {"fp32": 1e-4, "tf32": 5e-2, "bf16": 2e-1, "fp16": 5e-2}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def precision(name: str):
    """Matrix products and convolutions in TF32, or not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    try:
        yield DTYPES.get(name, torch.float32)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def figures(path, device: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Features, class embeddings, scores, losses and gradients of the golden CLIP."""
    backbone = load_backbone(path, device=device, dtype=dtype)
    captions = backbone.encode_texts(backbone.tokenize(worlds.CAPTIONS)).padded()
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = backbone.encode_images(pixels, position_embedding=False)
    encoder = PromptEncoder(
        text=backbone.text,
        classes=class_tokens(worlds.CLASSES, backbone.tokenize),
        start_id=backbone.tokenize([""])[0][0],
        n_ctx=4,
    )
    learner = PromptLearner(
        encoder=encoder,
        names=("global", "local"),
        class_names=worlds.CLASSES,
        n_ctx=4,
        generator=torch.Generator().manual_seed(1),
    ).to(device)
    prompts = learner()
    names = prompts["global"], prompts["local"]
    texts = score(captions, *names, scale=4.0, sharpness=50.0)
    dual = dual_scores(images, *names, scale=4.0, sharpness=40.0)
    labels = (torch.arange(7 * 6).view(7, 6) % 4 == 0).to(torch.uint8)
    ranked = ranking_loss(texts.global_, labels) + ranking_loss(texts.local, labels)
    partial = torch.arange(3 * 6).view(3, 6) % 3 - 1
    asymmetric = asymmetric_loss(dual.local, partial)
    (ranked + asymmetric).backward()
    found = {
        "text features": captions.local * captions.mask[..., None],
        "image features": images.global_,
        "dense features": images.local,
        "class embeddings": torch.cat(names),
        "global scores": texts.global_,
        "local scores": texts.local,
        "dual scores": dual.local,
        "ranking loss": ranked,
        "asymmetric loss": asymmetric,
        "gradients": torch.cat([p.grad for p in learner.parameters()]),
    }
    return {name: value.detach().double().cpu() for name, value in found.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", TOLERANCES)
def test_every_figure_is_the_cpus(tmp_path, name):
    path = weight_file(tmp_path)
    reference = figures(path, "cpu", torch.float32)
    with precision(name) as dtype:
        found = figures(path, "cuda", dtype)
    for figure, expected in reference.items():
        largest = GRADIENTS[name] if figure == "gradients" else TOLERANCES[name]
        error = float((found[figure] - expected).abs().max() / expected.abs().max())
        assert error < largest, f"{figure}: {error:.2g}"


def trained(world, folder, *options, no_train=False):
    options = ("DATALOADER.TRAIN_X.BATCH_SIZE", 4, "OPTIM.LR", 0.01, *options)
    argv = worlds.arguments(world, "TaIDPT", folder, *options)
    return run(setup_cfg(build_parser().parse_args(argv)), no_train=no_train)


def test_training_is_the_cpus_and_so_is_its_history(world, tmp_path):
    with precision("fp32"):
        ours = trained(world, tmp_path / "gpu", "USE_CUDA", True)
    theirs = trained(world, tmp_path / "cpu", "USE_CUDA", False)
    for name, value in theirs.model.named_parameters():
        torch.testing.assert_close(ours.model.get_parameter(name).cpu(), value, rtol=0, atol=1e-5)
    lines = [read_history(tmp_path / name) for name in ("gpu", "cpu")]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    np.testing.assert_allclose(*([one["loss"] for one in of] for of in lines), rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [(), ("TRAINER.TAIDPT.CLASSES_PER_STEP", 3, "TRAINER.TAIDPT.CSC", True)],
    ids=["all", "drawn"],
)
def test_a_step_waits_for_nothing(world, tmp_path, options):
    trainer = trained(world, tmp_path, "USE_CUDA", True, *options, no_train=True)
    trainer.num_batches = 1000
    batches = iter(trainer.train_loader_x)
    for trainer.batch_idx in range(2):  # what is made once
        trainer.forward_backward(next(batches))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for trainer.batch_idx in range(2, 5):
            shown = trainer.forward_backward(next(batches))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert shown["loss"].is_cuda and torch.isfinite(shown["loss"])


def test_a_tagger_says_what_it_says_on_the_cpu(tmp_path):
    new_tagger(tmp_path).save(tmp_path / "tagger")
    photos = [str(photo(tmp_path / f"{i}.png", seed=i)) for i in range(5)]
    with precision("fp32"):
        ours = Tagger.load(tmp_path / "tagger", device="cuda").scores(photos)
    theirs = Tagger.load(tmp_path / "tagger", device="cpu").scores(photos)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
