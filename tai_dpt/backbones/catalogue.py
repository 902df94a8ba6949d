"""Which backbones can be asked for, which of them are on this machine, and what one can do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import Tensor

from tai_dpt.backbones.backbone import Backbone
from tai_dpt.backbones.clip_package import published_files
from tai_dpt.backbones.download import NAMES, file_of
from tai_dpt.backbones.hub import hub_folder
from tai_dpt.errors import InputError
from tai_dpt.io.opening import expanded
from tai_dpt.io.reading import read_json
from tai_dpt.io.shipped import SHIPPED

#: what a library's models are asked for by -> its package, and the extra that installs it
LIBRARIES = {
    "open_clip:ARCHITECTURE/TAG, open_clip:ARCHITECTURE@FILE, hf-hub:ID-OR-FOLDER": (
        "open_clip_torch",
        "open-clip",
    ),
    "transformers:ID-OR-FOLDER": ("transformers", "transformers"),
}


_CARD = "README.md"
_EXTRAS = {"open_clip": "open-clip", "hf-hub": "open-clip", "transformers": "transformers"}


@dataclass(frozen=True)
class Entry:
    """A backbone that can be asked for by name.

    Args:
        file: its weights on this machine; None where they would be fetched.
        sha256: of the file, where it is published.
        licence: of the weights, as their maker says.
    """

    name: str
    file: Path | None
    sha256: str
    licence: str


def published() -> list[Entry]:
    """OpenAI's models, which this machine may have; a file's hash is checked when it is loaded."""
    table, _ = published_files()
    return [
        Entry(name, file_of(name), table[name].split("/")[-2], "MIT")
        for name in NAMES
        if name in table
    ]


def in_hub_cache() -> list[Entry]:
    """The models in the hub's cache that can be asked for, newest snapshot each."""
    found = []
    for folder in sorted(Path(hub_folder()).glob("models--*--*")):
        identifier = folder.name.removeprefix("models--").replace("--", "/", 1)
        snapshots = sorted((folder / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
        for snapshot in snapshots[-1:]:
            for kind in _kinds(snapshot):
                weights = next(_weights(snapshot), None)
                licence = _licence(snapshot / _CARD)
                found.append(Entry(f"{kind}:{identifier}", weights, "", licence))
    return found


def licence_of(name: str) -> str:
    """Of a backbone's weights, as far as this machine knows it; "unknown" otherwise."""
    known = {entry.name: entry.licence for entry in (*published(), *in_hub_cache())}
    known[SHIPPED] = "MIT"  # as this project's code
    place = own_place(name)
    return known.get(name) or (_licence(expanded(place) / _CARD) if place else "unknown")


def extra_of(name: str) -> str:
    """The extra of this package that a backbone needs; "" for none."""
    return _EXTRAS.get(name.partition(":")[0], "")


def own_place(name: str) -> str:
    """The folder or file on this machine that a library's model is named by; "" where it is named
    by what anybody can have."""
    if not extra_of(name):
        return ""
    rest = name.partition(":")[2]
    place = rest.partition("@")[2] or rest
    path = expanded(place)
    return place if path.is_absolute() or place.startswith(".") or path.exists() else ""


def shared_name(name: str) -> str:
    """A backbone's name without the folders that lead to it on this machine."""
    place = own_place(name)
    return name.replace(place, f"./{Path(place).name}") if place else name


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def described(backbone: Backbone) -> dict[str, str]:
    """All that there is to say about a backbone, as lines of a name and a value."""
    text, image, seen = backbone.text, backbone.image, backbone.preprocessing
    weights = sum(value.numel() for part in (text, image) for value in _tensors(part))
    return {
        "name": backbone.name,
        "library": backbone.library,
        "weights' SHA-256": backbone.weights_hash,
        "numbers in it": f"{weights / 1e6:,.1f} million",
        "features": f"{backbone.embed_dim} wide; logit scale {backbone.logit_scale:.4g}",
        "images": (
            f"{seen.size[0]}×{seen.size[1]}, {seen.view}, {seen.interpolation}, "
            f"mean {_numbers(seen.mean)}, deviation {_numbers(seen.std)}"
        ),
        "other sizes": (
            f"any of at least {backbone.cell} pixels a side"
            + (f", multiples of {backbone.cell}" if image.dense_options else "")
            if image.any_size
            else "none"
        ),
        "image tower": type(image).__name__,
        "local features": (
            f"of places of {backbone.cell}×{backbone.cell} pixels"
            if image.has_places
            else "none of places"
        ),
        "dense options": ", ".join(image.dense_options) or "none: there is one way",
        "text tower": f"{type(text).__name__}, {'causal' if text.causal else 'not causal'}",
        "texts": (
            f"up to {text.context_length} tokens, "
            f"{backbone.tokenizer.identity or 'the tokenizer of OpenAI'}"
        ),
        "words of a caption": (
            "have features: TaI-DPT learns both prompts"
            if text.every_token
            else "have none: TaI learns the global prompt"
        ),
    }


def _tensors(part: object) -> Iterator[Tensor]:
    yield from part.parameters()  # type: ignore[attr-defined]
    yield from part.buffers()  # type: ignore[attr-defined]


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _kinds(snapshot: Path) -> Iterator[str]:
    if (snapshot / "open_clip_config.json").is_file():
        yield "hf-hub"
    try:
        content = read_json(snapshot / "config.json")
    except InputError:
        return
    if isinstance(content, dict) and content.get("model_type") in ("clip", "siglip"):
        yield "transformers"


def _weights(snapshot: Path) -> Iterator[Path]:
    for pattern in ("*.safetensors", "*.bin", "*.pt"):
        yield from sorted(snapshot.glob(pattern))


def _licence(card: Path) -> str:
    try:
        text = card.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    found = re.search(r"^license:\s*(\S+)", text, re.MULTILINE)
    return found[1] if found else "unknown"
