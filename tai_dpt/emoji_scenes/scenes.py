"""Scenes: which sprites stand where (`Scene`), and the image of it (`render`).

A scene is a function of (seed, index) alone. Its layout needs no image, so captions can be
written for scenes that are never drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tai_dpt.emoji_scenes.classes import CLASSES
from tai_dpt.emoji_scenes.sprites import Sprites

SIZE = 128  # pixels, both sides

# Where each part of the world starts counting its scenes: no scene is in two parts.
FIRST_INDEX = {
    "captions": 100_000,
    "train": 200_000,
    "val": 300_000,
    "test": 400_000,
    "clip": 1_000_000,
}
STREAM_LAYOUT, STREAM_PIXELS, STREAM_CAPTION = 0, 1, 2  # separate random streams of one scene

_CLASSES_PER_SCENE = (0.2, 0.3, 0.3, 0.2)  # one to four
_TWICE = 0.25
_LONG_SIDE = {1: (52, 88), 2: (44, 68), 3: (38, 58), 4: (36, 50), 5: (32, 46)}  # by object count
_TRIES = 24


@dataclass(frozen=True)
class Placed:
    """One object of a scene; `x`, `y` is its centre and `side` its long side, in pixels."""

    label: int
    variant: int
    vendor: float  # in [0, 1): a share of the vendors that draw this variant
    x: float
    y: float
    side: float
    tilt: float  # degrees
    flip: bool
    gain: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """The layout of one image: objects back to front."""

    seed: int
    index: int
    objects: tuple[Placed, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """Classes in the scene, each once, in order of appearance."""
        return tuple(dict.fromkeys(placed.label for placed in self.objects))


@dataclass(frozen=True)
class Visible:
    """What can be seen of one object: COCO's box (x, y, w, h) and area in pixels."""

    label: int
    box: tuple[int, int, int, int]
    area: int


def _overlap(side: float, x: float, y: float, other: Placed) -> float:
    """Shared part of two squares, relative to the smaller one."""
    reach = (side + other.side) / 2
    width = min(reach - abs(x - other.x), side, other.side)
    height = min(reach - abs(y - other.y), side, other.side)
    return max(width, 0.0) * max(height, 0.0) / min(side, other.side) ** 2


def make_scene(seed: int, index: int) -> Scene:
    """Draw the layout of scene `index`: 1–4 classes, each once or twice."""
    rng = np.random.default_rng((seed, index, STREAM_LAYOUT))
    n_classes = 1 + int(rng.choice(4, p=_CLASSES_PER_SCENE))
    labels = [int(label) for label in rng.choice(len(CLASSES), size=n_classes, replace=False)]
    wanted = [
        (label, int(rng.integers(len(CLASSES[label].variants))))
        for label in labels
        for _ in range(2 if rng.random() < _TWICE else 1)
    ]
    # Twice the same class means twice the same drawing: "two taxis" are both taxis.
    drawing = dict(wanted)
    low, high = _LONG_SIDE[min(len(wanted), max(_LONG_SIDE))]
    objects: list[Placed] = []
    for label, _ in wanted:
        side = float(rng.uniform(low, high))
        spots = rng.uniform(0.46 * side, SIZE - 0.46 * side, size=(_TRIES, 2))
        crowding = [
            max((_overlap(side, x, y, other) for other in objects), default=0.0) for x, y in spots
        ]
        x, y = spots[int(np.argmin(crowding))]
        objects.append(
            Placed(
                label=label,
                variant=drawing[label],
                vendor=float(rng.random()),
                x=float(x),
                y=float(y),
                side=side,
                tilt=float(rng.normal(0.0, 12.0)),
                flip=bool(rng.random() < 0.5),
                gain=tuple(float(g) for g in rng.uniform(0.85, 1.15, size=3)),  # type: ignore[arg-type]
            )
        )
    return Scene(seed, index, tuple(objects))


def _background(rng: np.random.Generator) -> np.ndarray:
    """A colour gradient in a random direction under soft noise, (SIZE, SIZE, 3) float."""
    start, stop = rng.uniform(40, 230, size=(2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-0.5, 0.5, SIZE)
    along = np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None] + 0.5
    ground = start + np.clip(along, 0, 1)[..., None] * (stop - start)
    cells = int(rng.integers(6, 24))
    noise = rng.normal(0.0, rng.uniform(4, 20), size=(cells, cells)).astype(np.float32)
    soft = Image.fromarray(noise).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(ground + np.asarray(soft)[..., None])


def render(scene: Scene, sprites: Sprites) -> tuple[np.ndarray, list[Visible]]:
    """Draw a scene.

    Returns:
        The image, (SIZE, SIZE, 3) uint8, and what is visible of each object, in the order of
        `scene.objects`; an object that is wholly hidden is left out.
    """
    rng = np.random.default_rng((scene.seed, scene.index, STREAM_PIXELS))
    canvas = _background(rng)
    owner = np.full((SIZE, SIZE), -1, dtype=np.int16)
    for number, placed in enumerate(scene.objects):
        drawings = sprites[placed.label, placed.variant]
        pixels = drawings[int(placed.vendor * len(drawings))]
        height, width = pixels.shape[:2]
        scale = placed.side / max(height, width)
        picture = Image.fromarray(pixels).resize(
            (max(round(width * scale), 1), max(round(height * scale), 1)),
            Image.Resampling.BICUBIC,
        )
        if placed.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = picture.rotate(placed.tilt, Image.Resampling.BICUBIC, expand=True)
        stamp = np.asarray(picture, dtype=np.float64)
        top = round(placed.y - stamp.shape[0] / 2)
        left = round(placed.x - stamp.shape[1] / 2)
        rows = slice(max(top, 0), min(top + stamp.shape[0], SIZE))
        columns = slice(max(left, 0), min(left + stamp.shape[1], SIZE))
        stamp = stamp[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        alpha = stamp[..., 3:] / 255
        paint = np.clip(stamp[..., :3] * placed.gain, 0, 255)
        canvas[rows, columns] = alpha * paint + (1 - alpha) * canvas[rows, columns]
        owner[rows, columns][alpha[..., 0] > 0.5] = number
    seen = []
    for number, placed in enumerate(scene.objects):
        ys, xs = np.nonzero(owner == number)
        if len(ys):
            x, y = int(xs.min()), int(ys.min())
            box = (x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1)
            seen.append(Visible(placed.label, box, len(ys)))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), seen
