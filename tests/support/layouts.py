"""Tiny benchmarks in their official layouts, for tests: what the archives unpack to, cut down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from tai_dpt.labels.class_lists import load_vocabulary

from clips import golden_state

VOC = load_vocabulary("voc2007").dataset_names
COCO = load_vocabulary("coco2014").dataset_names
NUS = load_vocabulary("nuswide").dataset_names

#: overrides for train.py: the golden CLIP, small images, no workers, nothing cached, few texts
TINY = (
    *("MODEL.BACKBONE.NAME", "clip.safetensors", "INPUT.SIZE", "(64, 64)"),
    *("INPUT.INTERPOLATION", "bicubic", "DATALOADER.NUM_WORKERS", 0, "OPTIM.NAME", "sgd"),
    *("FEATURES.CACHE", "memory", "OPTIM.MAX_EPOCH", 1, "TRAINER.TAIDPT.N_CTX", 4),
    *("TRAINER.DUALCOOP.N_CTX", 4, "DATALOADER.TRAIN_X.BATCH_SIZE", 8),
    *("DATASET.CORPUS.TEMPLATES", "False"),
)


def write_clip(root: Path) -> None:
    """The golden CLIP's weights as ``clip.safetensors``."""
    root.mkdir(parents=True, exist_ok=True)
    save_file(golden_state(), root / "clip.safetensors")


def write_image(path: Path, seed: int = 0) -> None:
    """A small photo of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_voc(
    root: Path, *, train: int = 6, test: int = 5, newline: str = "\r\n", difficult: bool = True
) -> Path:
    """``VOCdevkit/VOC2007``. Image i shows classes i and i + 1; class i + 2 is difficult in it."""
    home = root / "VOCdevkit" / "VOC2007"
    lists = home / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, ids in (("trainval", range(1, train + 1)), ("test", range(1001, test + 1001))):
        _write(lists / f"{name}.txt", [f"{i:06d}" for i in ids], newline)
        for column, class_name in enumerate(VOC):
            lines = []
            for i in ids:
                place = (column - i) % len(VOC)
                value = 1 if place < 2 else 0 if place == 2 and difficult else -1
                lines.append(f"{i:06d} {value:2d}")  # two spaces before what is not negative
            _write(lists / f"{class_name}_{name}.txt", lines, newline)
        for i in ids:
            write_image(home / "JPEGImages" / f"{i:06d}.jpg", i)
    return home


def write_nuswide(
    root: Path, *, train: int = 6, test: int = 5, newline: str = "\r\n", unpacked: bool = False
) -> Path:
    """``NUSWIDE``. Image i shows concepts i and i + 1, but every fifth shows none.

    ``unpacked``: with the folders that the published archives make.
    """
    home = root / "NUSWIDE"
    concepts = home / "ConceptsList" if unpacked else home
    labels = home / "Groundtruth" / "TrainTestLabels" if unpacked else home / "TrainTestLabels"
    for folder in (concepts, labels, home / "ImageList"):
        folder.mkdir(parents=True, exist_ok=True)
    _write(concepts / "Concepts81.txt", list(NUS), newline)
    for name, count in (("Train", train), ("Test", test)):
        images = [f"{NUS[i % 3]}\\{i:04d}_{name.lower()}.jpg" for i in range(count)]
        _write(home / "ImageList" / f"{name}Imagelist.txt", images, newline)
        for column, concept in enumerate(NUS):
            shown = [i % 5 != 4 and (column - i) % len(NUS) < 2 for i in range(count)]
            _write(labels / f"Labels_{concept}_{name}.txt", [str(int(s)) for s in shown], newline)
        for i, image in enumerate(images):
            write_image(home / "Flickr" / image.replace("\\", "/"), i)
    return home


def write_coco(root: Path, *, train: int = 6, test: int = 5, captions: int = 12) -> Path:
    """``COCO``: instances, images and captions of train2014, val2014 and captions of train2017."""
    home = root / "COCO"
    (home / "annotations").mkdir(parents=True)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(COCO)]
    for name, count in (("train2014", train), ("val2014", test)):
        images, annotations = [], []
        for i in range(count):
            file = f"COCO_{name}_{i + 1:012d}.jpg"
            write_image(home / name / file, i)
            images.append({"id": i + 1, "file_name": file, "width": 64, "height": 48})
            if i % 5 != 4:  # some photos have no object
                for category in (i % 80, (i + 1) % 80):
                    annotations.append(
                        {"id": len(annotations), "image_id": i + 1, "category_id": category + 1}
                    )
        content = {"images": images, "annotations": annotations, "categories": categories}
        (home / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    for name in ("train2014", "val2014", "train2017"):
        write_captions(home / "annotations" / f"captions_{name}.json", captions)
    return home


CAPTIONS = (
    "A dog sits next to a cat on the sofa.",
    "Two people ride bicycles down a street past a bus.",
    "A bird flies over a boat on the water.",
    "A man and his horse in front of a car",
    "A bottle of wine and a plant on the dining table",
    "Nothing to see here",
)


def write_captions(path: Path, count: int) -> None:
    """COCO's captions; two for each image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    annotations = [
        {"image_id": i // 2, "id": i, "caption": CAPTIONS[i % len(CAPTIONS)]} for i in range(count)
    ]
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in range((count + 1) // 2)]
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))


def write_narratives(root: Path, count: int = 12) -> Path:
    """``OpenImages/captions``: localized narratives, a JSON object a line."""
    path = root / "OpenImages" / "captions" / "open_images_train_v6_captions.jsonl"
    path.parent.mkdir(parents=True)
    lines = [
        {
            "dataset_id": "open_images_train",
            "image_id": f"{i:016x}",
            "annotator_id": i % 4,
            "caption": CAPTIONS[i % len(CAPTIONS)],
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_flickr(root: Path, count: int = 10) -> tuple[Path, Path]:
    """``Flickr8k`` and ``Flickr30k``: token files, five captions an image."""
    places = (
        root / "Flickr8k" / "Flickr8k.token.txt",
        root / "Flickr30k" / "results_20130124.token",
    )
    for path in places:
        path.parent.mkdir(parents=True)
        _write(
            path,
            [f"{i // 5}.jpg#{i % 5}\t{CAPTIONS[i % len(CAPTIONS)]}" for i in range(count)],
            "\n",
        )
    return places


def _write(path: Path, lines: Sequence[str], newline: str) -> None:
    path.write_bytes("".join(line + newline for line in lines).encode())
