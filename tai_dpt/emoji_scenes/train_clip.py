"""Train the tiny CLIP of `emoji_scenes` from nothing, and write its weights small.

OpenAI's ResNet architecture, 30,000 scenes drawn once, fresh captions in every epoch, symmetric
InfoNCE. The run is a function of its recipe: a killed run goes on from its last checkpoint with
the batches it would have seen.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from tai_dpt.emoji_scenes.architecture import (
    CONTEXT_LENGTH,
    VOCAB_SIZE,
    encode_text,
    new_resnet_clip,
)
from tai_dpt.emoji_scenes.clip_data import (
    Captioner,
    normalised_pixels,
    render_scenes,
    used_tokens,
)
from tai_dpt.emoji_scenes.scenes import FIRST_INDEX, SIZE, make_scene
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write

log = logging.getLogger(__name__)

_MAX_LOGIT_SCALE = math.log(100)


@dataclass(frozen=True)
class Sizes:
    """The architecture; `text_heads` follows OpenAI's rule, width // 64."""

    embed_dim: int = 128
    image_size: int = SIZE
    vision_layers: tuple[int, int, int, int] = (1, 1, 1, 1)
    vision_width: int = 16
    text_width: int = 128
    text_heads: int = 2
    text_layers: int = 4


@dataclass(frozen=True)
class Recipe:
    """All that determines a training run."""

    steps: int = 1600
    batch: int = 256
    scenes: int = 30_000
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then cosine to 0 at `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))


def contrastive_loss(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of paired features (B, D), which need not be normalised."""
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    logits = logit_scale.exp() * images @ texts.t()
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def _batches(recipe: Recipe, first: int) -> Iterator[tuple[int, np.ndarray]]:
    """(epoch, scene numbers) of every step from `first` on."""
    per_epoch = recipe.scenes // recipe.batch
    order = np.empty(0, dtype=np.int64)
    for step in range(first, recipe.steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0 or not len(order):
            order = np.random.default_rng((recipe.seed, epoch, 11)).permutation(recipe.scenes)
        # Sorted, because reading a memory map in order is quicker and the loss does not mind.
        yield epoch, np.sort(order[within * recipe.batch : (within + 1) * recipe.batch])


def _encode_by_length(model: nn.Module, tokens: Tensor, ends: Tensor, parts: int = 4) -> Tensor:
    """`encode_text` in `parts` of like length, each cut at its own longest text; (B, D)."""
    order = ends.argsort(stable=True)
    features = [
        encode_text(model, tokens[part, : int(ends[part].max()) + 1], ends[part])
        for part in order.chunk(parts)
    ]
    return torch.cat(features)[order.argsort()]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; gains, biases and the logit scale are not decayed."""
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2]},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)


def train(
    *,
    recipe: Recipe,
    sprites: Path,
    work: Path,
    out: Path,
    templates: Sequence[str],
    stop_after: int | None = None,
    checkpoint_every: int = 100,
    export_every: int = 500,
    workers: int = 2,
) -> float:
    """Train, or go on training, and write the weights to `out`.

    Args:
        recipe: what determines the run; a checkpoint of another recipe is refused.
        sprites: the sprites' folder.
        work: folder for the drawn scenes and the checkpoint; may be deleted afterwards.
        out: the safetensors file; interim weights go there every `export_every` steps.
        templates: prompt templates whose words the token table must hold.
        stop_after: stop at this step instead of the recipe's end, as a kill would.

    Returns:
        The last step's loss.

    Raises:
        InputError: the checkpoint in `work` belongs to another recipe.
    """
    work.mkdir(parents=True, exist_ok=True)
    rendered = render_scenes(work, sprites, seed=recipe.seed, count=recipe.scenes, workers=workers)
    start = FIRST_INDEX["clip"]
    scenes = [make_scene(recipe.seed, start + i) for i in range(recipe.scenes)]
    rows = used_tokens(templates)
    captioner = Captioner(rows=rows, templates=templates)

    torch.manual_seed(recipe.seed)
    model = new_resnet_clip(vocab_size=len(rows), **asdict(recipe.sizes))
    model.visual.to(memory_format=torch.channels_last)
    optimizer = _optimizer(model, recipe)
    checkpoint = work / "checkpoint.pt"
    described = json.dumps(asdict(recipe), sort_keys=True)
    step, loss = 0, math.nan
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["recipe"] != described:
            raise InputError(
                f"{checkpoint} belongs to another recipe; delete it or use another --work folder"
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, loss = saved["step"], saved["loss"]
        log.info("going on from step %d", step)

    def save_checkpoint() -> None:
        state = {
            "recipe": described,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "loss": loss,
        }
        with atomic_write(checkpoint) as stream:
            torch.save(state, stream)

    model.train()
    last = recipe.steps if stop_after is None else min(stop_after, recipe.steps)
    began, first = time.monotonic(), step
    for epoch, chosen in _batches(recipe, step):
        if step >= last:
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(step)
        tokens, ends = captioner.batch([scenes[i] for i in chosen], epoch)
        pixels = normalised_pixels(rendered, chosen)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            images = model.visual(pixels)
        texts = _encode_by_length(model, tokens, ends)
        objective = contrastive_loss(images, texts, model.logit_scale)
        optimizer.zero_grad(set_to_none=True)
        objective.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=_MAX_LOGIT_SCALE)
        step, loss = step + 1, float(objective.detach())
        if step % 20 == 0 or step == last:
            rate = (time.monotonic() - began) / (step - first)
            log.info(
                "step %d/%d  loss %.4f  scale %.1f  %.2f s/step  %.0f min left",
                *(step, recipe.steps, loss, model.logit_scale.exp().item(), rate),
                rate * (recipe.steps - step) / 60,
            )
        if step % checkpoint_every == 0 or step == last:
            save_checkpoint()
        if step % export_every == 0:
            export(model, rows=rows, path=out, recipe=recipe, step=step)
    export(model, rows=rows, path=out, recipe=recipe, step=step)
    return loss


def export(model: nn.Module, *, rows: Sequence[int], path: Path, recipe: Recipe, step: int) -> None:
    """Write OpenAI's state dict in half precision with the used rows of the token table only.

    ``token_rows`` (n, width) and ``token_ids`` (n,) stand for ``token_embedding.weight``; the
    other keys are as in OpenAI's archives, its three integer scalars included.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        name = "token_rows" if key == "token_embedding.weight" else key
        tensors[name] = (value.half() if value.is_floating_point() else value).contiguous()
    tensors["token_ids"] = torch.tensor(rows)
    tensors["input_resolution"] = torch.tensor(recipe.sizes.image_size)
    tensors["context_length"] = torch.tensor(CONTEXT_LENGTH)
    tensors["vocab_size"] = torch.tensor(VOCAB_SIZE)
    metadata = {
        "architecture": "OpenAI CLIP, ModifiedResNet, " + json.dumps(asdict(recipe.sizes)),
        "recipe": json.dumps(asdict(recipe)),
        "seed": str(recipe.seed),
        "step": str(step),
        "data": "emoji_scenes, drawn from Noto Emoji, Twemoji and Fluent Emoji; see ATTRIBUTION.md",
        "licence": "MIT",
    }
    with atomic_write(path) as stream:
        stream.write(save(tensors, metadata=metadata))
