"""A tagger for services without this package: its formulas in words, its image side as ONNX."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.errors import InputError
from tai_dpt.features import Features
from tai_dpt.io.atomic import atomic_write
from tai_dpt.scoring.methods import Learned
from tai_dpt.scoring.patch_classifier import patch_setting
from tai_dpt.scoring.rectification import rectify_scores
from tai_dpt.tagger.tagger import PromptTagger

_OPSET = 18
# each method's scores, of features g and F_j and the tensors in the file: u moves v to its texts
_PARTS = "scale * sum_j softmax_j(sharpness * F_j @ tensors.{0}.T) * (F_j @ tensors.{0}.T)"
_MEAN = {"merged": "(global + local) / 2"}
_PROMPTS = {"global": "scale * g @ tensors.global.T", "local": _PARTS.format("local"), **_MEAN}
_FORMULAS = {
    "tai-dpt": _PROMPTS,
    "concepts": _PROMPTS,
    "mix": {
        "global": "scale * g @ (tensors.global + tensors.concepts).T",
        "local": f"{_PARTS.format('local')} + {_PARTS.format('concepts')}",
        **_MEAN,
    },
    "comc": {
        "m(v)": "normalise(softmax(text_scale * v @ tensors.templates.T) @ tensors.templates)",
        "u(v)": "(1 - towards_text) * v + towards_text * m(v)",
        "global": "u(g) @ tensors.head.T",
        "local": "max_j u(F_j) @ tensors.head.T",
        **_MEAN,
    },
    "piaa": {
        "q_j": "softmax((F_j @ tensors.weight.T + tensors.bias) / 500)",
        "global": "softmax(global_sharpness * g @ tensors.global.T)",
        "local": "softmax(local_sharpness * max_j q_j)",
        "merged": "0.9 * local + 0.1 * global",
    },
}
# over the classes of one image
_RECTIFIED = {
    "centre": "merged - mean(merged)",
    "standardise": "(merged - mean(merged)) / standard_deviation(merged, ddof=1)",
    "softmax": "log_softmax(softmax_sharpness * merged)",
}


def service_facts(tagger: PromptTagger) -> dict[str, Any]:
    """All that a service must know beside tensors; plain values."""
    scoring = tagger.scoring
    rectified = scoring.rectify != "none"
    return {
        "class_names": tagger.classes_.tolist(),
        "preprocessing": tagger.preprocessing.as_dict(),
        "scores": {
            "method": tagger.method.name,
            **_FORMULAS[tagger.method.name],
            **_constants(tagger),
            "scale": scoring.scale,
            "sharpness": scoring.sharpness_image,
            **({"rectify_merged": _RECTIFIED[scoring.rectify]} if rectified else {}),
            **({"softmax_sharpness": tagger.softmax_sharpness} if rectified else {}),
        },
        "calibration": tagger.calibration
        and {
            "probability": "1 / (1 + exp(-(slope * merged + offsets)))",
            "standardise_each_image_over_classes_first": tagger.calibration.standardised,
            "slope": tagger.calibration.slope,
            "offsets": list(tagger.calibration.offsets),
            "threshold": tagger.calibration.threshold,
            "thresholds_of_classes": tagger.calibration.limits.tolist(),
        },
        "backbone": {
            "name": tagger.backbone.name,
            "weights_sha256": tagger.backbone.weights_hash,
        },
    }


def _constants(tagger: PromptTagger) -> dict[str, Any]:
    """The method's own numbers."""
    values = asdict(tagger.method)
    if "setting" in values:
        values |= asdict(patch_setting(values["setting"]))
    return {name: value for name, value in values.items() if name != "name"}


class ImageSide(nn.Module):
    """Pixels to merged scores and normalised features: what is exported."""

    def __init__(self, tagger: PromptTagger) -> None:
        super().__init__()
        self.tower = tagger.backbone.image
        self.position_embedding = tagger.scoring.position_embedding
        self.method, self.scoring = tagger.method, tagger.scoring
        self.softmax_sharpness = tagger.softmax_sharpness
        for name in tagger.method.shapes:
            self.register_buffer(f"kept_{name}", tagger.embeddings[name])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, C), global (B, D) and local features (B, N, D) of pixels (B, 3, H, W)."""
        global_, local = self.tower(pixels, position_embedding=self.position_embedding)
        global_, local = F.normalize(global_, dim=-1), F.normalize(local, dim=-1)
        mask = torch.ones_like(local[..., 0], dtype=torch.bool)
        kept = {name: self.get_buffer(f"kept_{name}") for name in self.method.shapes}
        learned = Learned(self.method, kept, self.scoring)
        scores = learned.scores(Features(global_, local, mask))
        scores = rectify_scores(scores, self.scoring.rectify, sharpness=self.softmax_sharpness)
        return scores.merged, global_, local


def check_onnx() -> None:
    if importlib.util.find_spec("onnx") is None:
        raise InputError("ONNX needs the package onnx: pip install 'tai-dpt[onnx]'")


def export_onnx(tagger: PromptTagger, path: Path) -> None:
    """Write the image side of a tagger as ONNX, with a batch axis of any length.

    Raises:
        InputError: the packages for it are not installed, or the backbone is not in fp32.
    """
    check_onnx()
    if tagger.backbone.dtype != torch.float32:
        raise InputError(f"ONNX is exported in fp32, the backbone is in {tagger.backbone.dtype}")
    # the exporter that traces: the other one needs packages of its own
    known = inspect.signature(torch.onnx.export).parameters
    tracing: dict[str, Any] = {"dynamo": False} if "dynamo" in known else {}
    pixels = torch.zeros(2, 3, *tagger.preprocessing.size, device=tagger.backbone.device)
    # nn.MultiheadAttention's own kernel, which some libraries' towers come to, is not in ONNX
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            written = Path(folder) / path.name
            torch.onnx.export(
                ImageSide(tagger).eval(),
                (pixels,),
                str(written),
                input_names=["pixels"],
                output_names=["scores", "global", "local"],
                dynamic_axes={n: {0: "batch"} for n in ("pixels", "scores", "global", "local")},
                opset_version=_OPSET,
                **tracing,
            )
            with atomic_write(path) as stream:
                stream.write(written.read_bytes())
    finally:
        quiet.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fast)


def compare_onnx(tagger: PromptTagger, path: Path) -> float:
    """The largest difference between the scores of ONNX Runtime and the tagger's own."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(3, 3, *tagger.preprocessing.size, generator=generator)
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["scores"], {"pixels": pixels.numpy()})
    features = tagger.backbone.encode_images(
        pixels, position_embedding=tagger.scoring.position_embedding
    )
    ours = tagger.score_features(features, sharpness=tagger.scoring.sharpness_image).merged
    return float(np.abs(theirs - ours.numpy()).max())
