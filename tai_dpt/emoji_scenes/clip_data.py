"""What the tiny CLIP is trained on: scenes drawn once, and a fresh caption of each every epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tai_dpt.backbones import PIXEL_MEAN, PIXEL_STD
from tai_dpt.emoji_scenes.architecture import END_TOKEN, START_TOKEN, token_ids
from tai_dpt.emoji_scenes.classes import NAMES
from tai_dpt.emoji_scenes.grammar import all_words, caption
from tai_dpt.emoji_scenes.scenes import FIRST_INDEX, SIZE, Scene, make_scene, render
from tai_dpt.emoji_scenes.sprites import load_sprites
from tai_dpt.io.atomic import atomic_write

log = logging.getLogger(__name__)

_TEMPLATE_SHARE = 0.08  # captions that are an ImageNet template around one class of the scene
_STREAM_TEMPLATE = 7  # the random stream that decides it


def _draw(sprites: Path, seed: int, start: int, stop: int) -> NDArray[np.uint8]:
    loaded = load_sprites(sprites)
    return np.stack([render(make_scene(seed, i), loaded)[0] for i in range(start, stop)])


def render_scenes(
    work: Path, sprites: Path, *, seed: int, count: int, workers: int
) -> NDArray[np.uint8]:
    """Draw the training scenes once into `work`; (count, SIZE, SIZE, 3) uint8, memory-mapped."""
    path = work / f"scenes-{seed}-{count}.npy"
    if not path.exists():
        first, chunk = FIRST_INDEX["clip"], 500
        starts = range(first, first + count, chunk)
        stops = [min(start + chunk, first + count) for start in starts]
        jobs = len(starts)
        images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
        with ProcessPoolExecutor(workers) as pool:
            parts = pool.map(_draw, [sprites] * jobs, [seed] * jobs, starts, stops)
            for start, stop, part in zip(starts, stops, parts, strict=True):
                images[start - first : stop - first] = part
                log.info("drew %d of %d scenes", stop - first, count)
        with atomic_write(path) as stream:
            np.save(stream, images)
    drawn: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return drawn


class Captioner:
    """Fresh captions of a scene as rows of the reduced token table."""

    def __init__(self, *, rows: Sequence[int], templates: Sequence[str]) -> None:
        self._row = {token: row for row, token in enumerate(rows)}
        self._templates = tuple(templates)

    def text(self, scene: Scene, epoch: int) -> str:
        """Caption number `epoch` of the scene, now and then a template instead."""
        rng = np.random.default_rng((scene.seed, scene.index, epoch, _STREAM_TEMPLATE))
        if self._templates and rng.random() < _TEMPLATE_SHARE:
            label = scene.labels[int(rng.integers(len(scene.labels)))]
            return self._templates[int(rng.integers(len(self._templates)))].format(NAMES[label])
        return caption(scene, epoch)[0]

    def batch(self, scenes: Sequence[Scene], epoch: int) -> tuple[Tensor, Tensor]:
        """Token rows (B, L), padded with 0 to the longest caption, and end positions (B,)."""
        texts = token_ids([self.text(scene, epoch) for scene in scenes])
        rows = [[self._row[t] for t in (START_TOKEN, *text, END_TOKEN)] for text in texts]
        tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for tokens_row, row in zip(tokens, rows, strict=True):
            tokens_row[: len(row)] = torch.tensor(row)
        return tokens, torch.tensor([len(row) - 1 for row in rows])


def used_tokens(templates: Sequence[str]) -> list[int]:
    """Every token that grammar, classes, templates and prompts can produce, sorted."""
    # With and without a full stop behind: punctuation may merge with what stands before it.
    texts = [*all_words(), *templates, "X", ".", "!", "?", "-", "'s", "a photo of a"]
    texts += [template.format(name) for template in templates[:3] for name in NAMES]
    found = {token for text in token_ids(texts) for token in text}
    return sorted(found | {START_TOKEN, END_TOKEN})


def normalised_pixels(images: np.ndarray, chosen: np.ndarray) -> Tensor:
    """Normalised (B, 3, SIZE, SIZE) pixels, channels last in memory."""
    batch = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    return batch.sub_(mean).div_(std)
