"""(g) What lower precision does to the golden figures, those that the public code gave."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.common import Section, command
from tai_dpt.backbones import Backbone, load_backbone
from tai_dpt.prompts.learner import PromptEncoder, PromptLearner, class_tokens
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import score

GOLDEN = Path(__file__).resolve().parents[1] / "tests/reference/golden"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def golden(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.as_tensor(arrays[key]) for key in arrays.files}


def golden_backbone(dtype: torch.dtype) -> Backbone:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.safetensors"
        save_file(golden("clip"), path)
        return load_backbone(path, dtype=dtype)


def figures(dtype: torch.dtype) -> dict[str, float]:
    """Errors of every golden figure of TaI-DPT, relative to its largest value, by its name."""
    backbone = golden_backbone(dtype)
    reference, inputs = golden("tai_dpt_cscFalse_end"), golden("inputs")
    words = json.loads((GOLDEN / "inputs.json").read_text(encoding="utf-8"))
    encoder = PromptEncoder(
        text=backbone.text,
        classes=class_tokens(words["classes"], backbone.tokenize),
        start_id=backbone.tokenize([""])[0][0],
        n_ctx=4,
    )
    learner = PromptLearner(
        encoder=encoder, names=("global", "local"), class_names=words["classes"], n_ctx=4
    )
    with torch.no_grad():
        learner.get_parameter("ctx_global").copy_(reference["ctx_global"])
        learner.get_parameter("ctx_local").copy_(reference["ctx_local"])
    prompts = learner()
    captions = backbone.encode_texts(backbone.tokenize(words["captions"]))
    texts = score(captions, prompts["global"], prompts["local"], scale=4.0, sharpness=50.0)
    labels = inputs["labels"]
    loss = ranking_loss(texts.global_, labels) + ranking_loss(texts.local, labels)
    loss.backward()
    images = score(
        backbone.encode_images(inputs["images"], position_embedding=False),
        prompts["global"], prompts["local"], scale=4.0, sharpness=40.0,
    )  # fmt: skip
    found = {
        "captions' global scores": (texts.global_, reference["text_global_scores"]),
        "captions' local scores": (texts.local, reference["text_local_scores"]),
        "loss": (loss, reference["loss"]),
        "global context's gradient": (
            learner.get_parameter("ctx_global").grad, reference["grad_global"]
        ),
        "local context's gradient": (
            learner.get_parameter("ctx_local").grad, reference["grad_local"]
        ),
        "images' global scores": (images.global_, reference["image_global_scores"]),
        "images' local scores": (images.local, reference["image_local_scores"]),
    }  # fmt: skip
    return {name: relative_error(ours, theirs) for name, (ours, theirs) in found.items()}


def relative_error(ours: Tensor | None, reference: Tensor) -> float:
    assert ours is not None
    ours, reference = ours.detach().double(), reference.double()
    return float((ours - reference).abs().max() / reference.abs().max())


@command("g", "Lower precision")
def main(section: Section, quick: bool) -> None:
    """The frozen towers in fp32, bf16 and fp16; class embeddings, scores and loss in fp32."""
    columns = {name: figures(dtype) for name, dtype in DTYPES.items()}
    rows = [[name, *(c[name] for c in columns.values())] for name in columns["fp32"]]
    section.table(["largest relative error", *columns], rows)
    section.add(
        "Against the public code's fp32 figures on a small CLIP of random weights (the tests' "
        "golden figures). Random weights make the worst case: scores of all classes lie close "
        "together, and nothing has learned to be robust."
    )


if __name__ == "__main__":
    main()
