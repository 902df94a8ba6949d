"""What of the benchmarks and corpora is on disk, against the official counts.

Counting never parses a whole annotation file: COCO's are hundreds of megabytes.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tai_dpt.datasets import nuswide, voc2007
from tai_dpt.errors import InputError, first_few
from tai_dpt.io.image_files import missing_files
from tai_dpt.io.text import read_lines
from tai_dpt.labels.class_lists import load_vocabulary

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One thing of a data set: how many of them there are, and should be."""

    what: str
    path: str  # relative to the root
    found: int | None  # None: it is not there
    expected: int | None  # None: there is no telling
    note: str = ""  # what is wrong with it

    @property
    def training(self) -> bool:
        """Whether nothing but learning from labelled images needs it."""
        return self.what.startswith("train")

    @property
    def complete(self) -> bool:
        return not self.note and self.found is not None and self.expected in (None, self.found)

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.complete:
            return "complete"
        if self.found is None:
            return "damaged" if self.note else "missing"
        if self.expected is None or self.found == self.expected:
            return "damaged"
        more = self.found - self.expected
        return f"{more:,} too many" if more > 0 else f"{-more:,} missing"


def _voc2007(root: Path) -> list[Part]:
    place = "VOCdevkit/VOC2007"
    home, classes = root / place, load_vocabulary("voc2007")
    parts = []
    for name, official in (("trainval", 5_011), ("test", 4_952)):
        lists = f"{place}/ImageSets/Main"
        ids, problem = _attempt(partial(voc2007.image_ids, home, name))
        there = None if ids is None else len(ids)
        parts.append(Part(f"{name} list", f"{lists}/{name}.txt", there, official, problem))
        files = [voc2007.label_file(home, c, name) for c in classes.dataset_names]
        count = sum(file.is_file() for file in files)
        problem = ""
        if ids is not None and count == len(files):
            _, problem = _attempt(partial(voc2007.voc_split, home, name, classes))
        parts.append(
            Part(f"{name} labels", f"{lists}/*_{name}.txt", count or None, len(files), problem)
        )
        images = [home / "JPEGImages" / f"{i}.jpg" for i in ids or ()]
        parts.append(_images(f"{name} images", f"{place}/JPEGImages", images, official))
    return parts


def _nuswide(root: Path) -> list[Part]:
    home, classes = root / "NUSWIDE", load_vocabulary("nuswide")

    def shown(path: Path) -> str:
        return path.relative_to(root).as_posix()

    concepts = nuswide.place(home, "Concepts81.txt")
    parts = [Part("concepts", shown(concepts), _lines(concepts), 81)]
    for name, official in (("Train", 161_789), ("Test", 107_859)):
        ids, problem = _attempt(partial(nuswide.image_ids, home, name))
        there = None if ids is None else len(ids)
        listing = f"NUSWIDE/ImageList/{name}Imagelist.txt"
        parts.append(Part(f"{name.lower()} list", listing, there, official, problem))
        files = [nuswide.label_file(home, c, name) for c in classes.dataset_names]
        count = sum(file.is_file() for file in files)
        problem = ""
        if ids is not None and count == len(files):
            _, problem = _attempt(partial(nuswide.nuswide_split, home, name, classes))
        pattern = f"{shown(nuswide.place(home, 'TrainTestLabels'))}/*_{name}.txt"
        parts.append(Part(f"{name.lower()} labels", pattern, count or None, len(files), problem))
        images = [home / "Flickr" / i for i in ids or ()]
        parts.append(_images(f"{name.lower()} images", "NUSWIDE/Flickr", images, official))
    return parts


def _coco2014(root: Path) -> list[Part]:
    parts = []
    for name, official, labelled in (("train2014", 82_783, 82_081), ("val2014", 40_504, 40_137)):
        path = f"COCO/annotations/instances_{name}.json"
        names = _matches(root / path, rb'"file_name"\s*:\s*"([^"]+)"')
        objects = _matches(root / path, rb'"image_id"\s*:\s*(\d+)')
        listed = None if names is None else len(names)
        parts.append(Part(f"{name} instances", path, listed, official, _cut_short(root / path)))
        with_objects = None if objects is None else len(set(objects))
        parts.append(Part("… images with an object", path, with_objects, labelled))
        folder = f"COCO/{name}"
        images = [root / folder / file.decode("utf-8", "replace") for file in names or ()]
        parts.append(_images(f"{name} images", folder, images, official))
    return parts


def _coco_captions(name: str, captions: int, images: int) -> Callable[[Path], list[Part]]:
    path = f"COCO/annotations/captions_{name}.json"

    def check(root: Path) -> list[Part]:
        found = _matches(root / path, rb'"caption"\s*:')
        speak_of = _matches(root / path, rb'"image_id"\s*:\s*(\d+)')
        return [
            Part("captions", path, _len(found), captions, _cut_short(root / path)),
            Part(
                "… images they speak of",
                path,
                None if speak_of is None else len(set(speak_of)),
                images,
            ),
        ]

    return check


def _openimages(root: Path) -> list[Part]:
    path = "OpenImages/captions/open_images_train_v6_captions.jsonl"
    found = _matches(root / path, rb'"caption"\s*:')
    return [Part("narratives", path, _len(found), 507_444, _cut_short(root / path))]


def _token_file(path: str, captions: int) -> Callable[[Path], list[Part]]:
    return lambda root: [Part("captions", path, _lines(root / path), captions)]


#: what of each data set is below a data folder
CHECKS: dict[str, Callable[[Path], list[Part]]] = {
    "voc2007": _voc2007,
    "coco2014": _coco2014,
    "nuswide": _nuswide,
    "captions_train2014": _coco_captions("train2014", 414_113, 82_783),
    "captions_val2014": _coco_captions("val2014", 202_654, 40_504),
    "captions_train2017": _coco_captions("train2017", 591_753, 118_287),
    "openimages": _openimages,
    "flickr8k": _token_file("Flickr8k/Flickr8k.token.txt", 40_460),
    "flickr30k": _token_file("Flickr30k/results_20130124.token", 158_915),
}


def _images(what: str, place: str, listed: Sequence[Path], official: int) -> Part:
    """Of the images that a list names, how many there are."""
    if not listed:
        return Part(what, place, None, official)
    missing = missing_files(listed)
    found = len(listed) - len(missing)
    note = f"{len(missing):,} are not on disk: {first_few(missing, 3)}" if missing and found else ""
    return Part(what, place, found or None, official, note)


def _attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    """The value and "", or None and what is wrong; a missing file is nothing wrong here."""
    try:
        return read(), ""
    except InputError as error:
        return None, "" if str(error).startswith("no such file") else str(error)


def _lines(path: Path) -> int | None:
    if not path.is_file():
        return None
    try:
        return sum(1 for _, line in read_lines(path) if line.strip())
    except InputError:
        return 0


def _matches(path: Path, pattern: bytes) -> list[bytes] | None:
    if not path.is_file():
        return None
    if not path.stat().st_size:
        return []
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return re.findall(pattern, data)


def _cut_short(path: Path) -> str:
    """What to say of a JSON file that does not end as one."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 64))
        end = stream.read().rstrip()
    return "" if end.endswith(b"}") else "the file is cut short: get it again"


def _len(found: list[bytes] | None) -> int | None:
    return None if found is None else len(found)
