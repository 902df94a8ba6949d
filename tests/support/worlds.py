"""A tiny data set in COCO's format with the golden CLIP: enough to run any trainer in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from clips import golden_state

CLASSES = ("dog", "traffic light", "car", "potted plant", "person", "tv")
CAPTIONS = (
    "a dog sitting in a car",
    "two people waiting at a traffic light next to a car",
    "a person watching tv with a dog",
    "a potted plant on top of an old tv!",
    "cars",
    "a blue sky",
    "a man walks his dog past a row of parked cars and a traffic light on a rainy day",
)


def write_world(root: Path, *, images: int = 8) -> Path:
    """Write ``root``/tiny: images in three splits, instances, captions, classes, weights."""
    home = root / "tiny"
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("val", 3), ("test", images)):
        write_split(home, split, count, rng)
    annotations = [{"id": i, "image_id": i, "caption": text} for i, text in enumerate(CAPTIONS)]
    content = {"images": [{"id": i} for i in range(len(CAPTIONS))], "annotations": annotations}
    (home / "captions.json").write_text(json.dumps(content))
    lines = [f"- {{name: {name}, synonyms: {_synonyms(name)}}}" for name in CLASSES]
    (home / "classes.yaml").write_text("\n".join(lines))
    save_file(golden_state(), home / "clip.safetensors")
    config = {
        "DATASET": {
            "NAME": "CocoFormat",
            "VOCABULARY": "tiny/classes.yaml",
            "COCO": {
                split.upper(): [f"tiny/instances_{split}.json", f"tiny/{split}"]
                for split in ("train", "val", "test")
            },
            "CORPUS": {"FILES": ["tiny/captions.json"]},
        },
        "INPUT": {"SIZE": [64, 64], "INTERPOLATION": "bicubic"},
        "MODEL": {"BACKBONE": {"NAME": "tiny/clip.safetensors"}},
        "DATALOADER": {"NUM_WORKERS": 0},
    }
    (root / "tiny.yaml").write_text(json.dumps(config))  # JSON is YAML
    return root


def write_unlabelled(root: Path) -> Path:
    """The dataset yaml of the test images alone, in a world that is there: nobody labelled them."""
    config = json.loads((root / "tiny.yaml").read_text())
    config["DATASET"]["NAME"] = "ImageList"
    config["DATASET"]["IMAGE_LIST"] = {"IMAGES": "tiny/test"}
    path = root / "unlabelled.yaml"
    path.write_text(json.dumps(config))
    return path


def write_split(home: Path, split: str, count: int, rng: np.random.Generator) -> None:
    """Random images; image i shows class i mod 6 and the next one."""
    folder = home / split
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(count):
        name = f"{i:06d}.png"
        pixels = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        images.append({"id": i, "file_name": name, "width": 90, "height": 70})
        for category in (i % 6, (i + 1) % 6):
            annotations.append({"id": len(annotations), "image_id": i, "category_id": category + 1})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (home / f"instances_{split}.json").write_text(json.dumps(content))


def arguments(root: Path, trainer: str, output: Path, *options: object, seed: int = 1) -> list[str]:
    """A command line of train.py for the tiny world."""
    flags: Sequence[object] = (
        *("--root", root, "--dataset-config-file", root / "tiny.yaml"),
        *("--trainer", trainer, "--output-dir", output, "--seed", seed),
        *("TEST.EVALUATOR", "MultiLabelEvaluator", "OPTIM.MAX_EPOCH", 2),
        *("FEATURES.CACHE", "memory", "TRAIN.CHECKPOINT_FREQ", 1, "OPTIM.NAME", "sgd"),
        *options,
    )
    return [str(flag) for flag in flags]


def _synonyms(name: str) -> str:
    return json.dumps([name, "people", "man"] if name == "person" else [name])
