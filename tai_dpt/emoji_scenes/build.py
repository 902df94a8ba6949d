"""Write the data of `emoji_scenes`: class list, captions, annotations and images, in COCO's
file format. Same seed and sprites, same files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tai_dpt.emoji_scenes.classes import CLASSES
from tai_dpt.emoji_scenes.grammar import caption
from tai_dpt.emoji_scenes.scenes import FIRST_INDEX, SIZE, Scene, make_scene, render
from tai_dpt.emoji_scenes.sprites import load_sprites
from tai_dpt.io.atomic import atomic_write

IMAGE_SUFFIX = ".webp"  # JPEG of the same quality is twice as large
IMAGE_QUALITY = 80

_INFO = {
    "description": "emoji_scenes: a small multi-label world for demonstrations and tests",
    "version": "1.0",
    "licences": "see ATTRIBUTION.md",
}


# what ``build`` writes
MADE = ("classes.yaml", "annotations", "images")


@dataclass(frozen=True)
class Counts:
    """How many captions, and scenes of each image set, are made."""

    captions: int = 6000
    train: int = 1200
    val: int = 200
    test: int = 500

    def scaled(self, scale: float) -> Counts:
        """Every count times `scale`, at least one."""
        return Counts(
            **{f.name: max(round(getattr(self, f.name) * scale), 1) for f in fields(self)}
        )


def scenes_of(part: str, *, seed: int, count: int) -> list[Scene]:
    """The first `count` scenes of a part of the world (a key of `FIRST_INDEX`)."""
    return [make_scene(seed, FIRST_INDEX[part] + i) for i in range(count)]


def encode_image(pixels: np.ndarray) -> bytes:
    """(SIZE, SIZE, 3) uint8 pixels as an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=IMAGE_QUALITY, method=6)
    return stream.getvalue()


def class_list() -> str:
    """``classes.yaml``: names and the words for them; the first word is the name."""
    lines = ["# The classes of emoji_scenes, and the words that name them in captions."]
    for scene_class in CLASSES:
        lines += [f"- name: {scene_class.name}", f"  synonyms: [{', '.join(scene_class.words)}]"]
    return "\n".join(lines) + "\n"


def _image(scene: Scene) -> dict[str, Any]:
    name = f"{scene.index:06d}{IMAGE_SUFFIX}"
    return {"id": scene.index, "file_name": name, "width": SIZE, "height": SIZE}


def _captions_file(scenes: Iterable[Scene]) -> dict[str, Any]:
    scenes = list(scenes)
    annotations = [
        {"id": number, "image_id": scene.index, "caption": caption(scene)[0]}
        for number, scene in enumerate(scenes, 1)
    ]
    images = [_image(scene) for scene in scenes]
    return {"info": _INFO, "images": images, "annotations": annotations}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path, "w", encoding="utf-8") as stream:
        json.dump(content, stream, separators=(",", ":"))
        stream.write("\n")


def build(*, out: Path, sprites: Path, seed: int = 0, counts: Counts | None = None) -> None:
    """Write the class list, annotations and images under `out`.

    Args:
        out: the data folder; made where it is missing.
        sprites: folder with one folder of sprites a vendor.
        seed: with the index of a scene, all that decides what is in it.
        counts: the full world where left out.
    """
    counts = counts or Counts()
    loaded = load_sprites(sprites)
    annotations = out / "annotations"
    with atomic_write(out / "classes.yaml", "w", encoding="utf-8") as stream:
        stream.write(class_list())
    spoken = scenes_of("captions", seed=seed, count=counts.captions)
    _write_json(annotations / "captions_train.json", _captions_file(spoken))
    tests = scenes_of("test", seed=seed, count=counts.test)
    _write_json(annotations / "captions_test.json", _captions_file(tests))

    categories = [{"id": c.category_id, "name": c.name} for c in CLASSES]
    for part in ("train", "val", "test"):
        scenes = scenes_of(part, seed=seed, count=getattr(counts, part))
        seen: list[dict[str, Any]] = []
        for scene in scenes:
            pixels, objects = render(scene, loaded)
            with atomic_write(out / "images" / part / _image(scene)["file_name"]) as stream:
                stream.write(encode_image(pixels))
            for shown in objects:
                seen.append(
                    {
                        "id": len(seen) + 1,
                        "image_id": scene.index,
                        "category_id": CLASSES[shown.label].category_id,
                        "bbox": list(shown.box),
                        "area": shown.area,
                        "iscrowd": 0,
                    }
                )
        content = {
            "info": _INFO,
            "images": [_image(scene) for scene in scenes],
            "annotations": seen,
            "categories": categories,
        }
        _write_json(annotations / f"instances_{part}.json", content)
