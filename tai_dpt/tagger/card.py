"""A tagger's card: the README.md of its folder, which a model hub shows."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tai_dpt.backbones.catalogue import extra_of, licence_of, own_place, shared_name
from tai_dpt.errors import first_few
from tai_dpt.io.atomic import atomic_write
from tai_dpt.scoring.calibration import Calibration

CARD_FILE = "README.md"
_BEGIN = "<!-- tai-dpt writes this part, again after each change; the rest of the file is yours -->"
_END = "<!-- tai-dpt: end -->"
_HEAD = """---
library_name: tai-dpt
pipeline_tag: image-classification
tags: [tai-dpt, multi-label-classification, clip]
---

"""
_MOST_CLASSES = 500
_TAI_DPT = "TaI-DPT ([arXiv 2211.12739](https://arxiv.org/abs/2211.12739))"
_MADE = {
    "tai-dpt": f"Its prompts were learned from texts alone, by {_TAI_DPT}.",
    "concepts": "A class is what CLIP's features of the texts that name it have in common, their "
    "mean; nothing was trained.",
    "comc": "A linear head on CLIP's features was learned from texts alone, with noise added to "
    "them (CoMC, ICML 2024).",
    "mix": f"Its prompts were learned from texts alone, by {_TAI_DPT}; to their scores those of "
    "the mean features of the texts that name a class are added.",
    "piaa": "A classifier of the patches of an image (PIAA, ICML 2026) was made from unlabelled "
    "images, in which embeddings of the classes that know texts alone pointed at the patches.",
}


def write_card(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what ``tagger.json`` says as ``README.md``.

    What people wrote around that part stays; a README without it stays as it is, unless there is
    nothing in it but a head for a hub.
    """
    path = folder / CARD_FILE
    text = _HEAD
    if path.exists():
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    if re.fullmatch(r"\s*(---\n.*?\n---\s*)?", text, re.S):
        text = f"{text.rstrip()}\n\n{_BEGIN}{_END}\n".lstrip()
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if begin and end:
        with atomic_write(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"{before}{_BEGIN}\n\n{_described(content)}\n{_END}{after}")


def _described(content: Mapping[str, Any]) -> str:
    names = content["class_names"]
    sections = [
        f"# A tagger of {len(names):,} classes",
        "Says which of its classes are in an image, without having seen a labelled one. "
        f"{_MADE[_method(content)]} CLIP itself stayed as it was, with all that it learned from "
        "the web.",
        f"**Classes:** {_plain(first_few(names, _MOST_CLASSES))}",
        "| | |\n|---|---|\n"
        + "\n".join(f"| {name} | {value} |" for name, value in _facts(content).items()),
        "## How sure it is",
        _calibrated(content),
        "## How to load it",
        _loaded(content["backbone"]["name"]),
    ]
    return "\n\n".join(sections) + "\n"


def _loaded(backbone: str) -> str:
    extras = ",".join(filter(None, ("hub", extra_of(backbone))))
    given = ', backbone="…"' if own_place(backbone) else ""
    return (
        "```python\nfrom tai_dpt import Tagger\n\n"
        f'tagger = Tagger.from_pretrained("user/name"{given})  '
        f'# of a hub: pip install "tai-dpt[{extras}]"\n'
        f'tagger = Tagger.load("folder"{given})  # of a disk\n'
        'tagger.predict(["photo.jpg"])\n```'
    )


def _method(content: Mapping[str, Any]) -> str:
    return str(content.get("method", {}).get("name", "tai-dpt"))


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    backbone, about = content["backbone"], content["about"]
    where = "in this folder" if backbone.get("file") else "had by that name"
    if own_place(backbone["name"]):
        where = "a folder or file of its maker's, which is to be given (backbone=…)"
    facts = {
        "backbone": f"{_plain(shared_name(backbone['name']))}, {where}; SHA-256 "
        f"{backbone['weights_sha256'][:12]}…; licence of its weights: "
        f"{_plain(licence_of(backbone['name']))}"
    }
    recipe = about.get("recipe") or {}
    if captions := about.get("captions"):
        kind = "captions, and class names in templates" if recipe.get("steps") else "captions"
        if captions.get("written_from_templates"):
            kind = "written from templates"
        facts["learned from"] = (
            f"{captions['learned_from']:,} texts: {kind}; {captions['held_out']:,} held out, "
            f"{captions['naming_no_class']:,} that name no class left out"
        )
        pairs = zip(captions["per_class"], content["class_names"], strict=True)
        counts = sorted(pairs, key=lambda pair: pair[0])
        fewest = ", ".join(f"{_plain(name)} {count:,}" for count, name in counts[:3])
        median = statistics.median(count for count, _ in counts)
        facts["texts of a class"] = f"{median:,g} in the median; the fewest: {fewest}"
    if recipe.get("steps"):
        facts["training"] = (
            f"{recipe['epochs']:,} epochs, {recipe['steps']:,} steps of {recipe['batch_size']:,} "
            f"captions, seed {recipe['seed']}"
        )
    if adapted := about.get("adapted"):
        facts["adapted to"] = (
            f"{adapted['images']:,} unlabelled images, {sum(adapted['patches']):,} of their "
            f"patches, with the constants published for {adapted['setting']}"
        )
    seen = content["preprocessing"]
    facts["images"] = f"{seen['size'][0]}×{seen['size'][1]} pixels, {seen['view']}"
    if rule := content["scoring"].get("rectify"):
        facts["scores of an image"] = f"rectified by '{rule}'"
    facts["written by"] = content["written_by"]
    return facts


def _calibrated(content: Mapping[str, Any]) -> str:
    if content["calibration"] is None:
        return "Not calibrated: it has scores, which rank classes, but no probabilities."
    calibration = Calibration.from_dict(content["calibration"], where="calibration")
    lines = calibration.account(content["class_names"]).splitlines()
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """A text as Markdown that shows it; names may hold what Markdown takes for signs."""
    return re.sub(r"([\\`*_\[\]<>|#$~]|&(?=#?\w+;))", r"\\\1", " ".join(text.split()))
