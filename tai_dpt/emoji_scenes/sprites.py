"""Fetch the emoji from npm and keep small, trimmed sprites of the classes.

Only `tai-dpt emoji-scenes sprites` needs npm: the sprites are part of the project.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from tai_dpt.emoji_scenes.classes import CLASSES, SceneClass
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write

LONG_SIDE = 64  # pixels


@dataclass(frozen=True)
class Vendor:
    """One emoji family: its npm package and where the package keeps an emoji's picture."""

    package: str
    picture: str  # with {code}
    title: str
    licence: str


VENDORS: Mapping[str, Vendor] = {
    "noto": Vendor(
        "emoji-datasource-google",
        "img/google/64/{code}.png",
        "Noto Emoji",
        "Apache-2.0 (pictures) and OFL-1.1 (font), Google",
    ),
    "twemoji": Vendor(
        "emoji-datasource-twitter",
        "img/twitter/64/{code}.png",
        "Twemoji",
        "CC-BY 4.0 (graphics), Twitter, Inc. and other contributors",
    ),
    "fluent": Vendor(
        "@lobehub/fluent-emoji-3d",
        "assets/{code}.webp",
        "Fluent Emoji 3D",
        "MIT, Microsoft Corporation",
    ),
}

ATTRIBUTION = """# Where the sprites come from

The pictures under `sprites/` show emoji of three families. They were taken from npm packages by
`tai-dpt emoji-scenes sprites`.

| folder | family | npm package | version | licence |
|---|---|---|---|---|
{rows}

What was changed: the emoji that stand for the {classes} classes were picked, transparent borders
cut off, and the pictures made smaller where their long side was over {side} pixels. The scenes
under `images/` are made from these sprites, resized, rotated, mirrored and slightly recoloured
on a drawn background; they are adaptations under the same licences.

* Noto Emoji, copyright Google LLC: <https://github.com/googlefonts/noto-emoji>
* Twemoji, copyright Twitter, Inc. and other contributors:
  <https://github.com/twitter/twemoji>, <https://creativecommons.org/licenses/by/4.0/>
* Fluent Emoji, copyright Microsoft Corporation: <https://github.com/microsoft/fluentui-emoji>
"""


def sprite_name(scene_class: SceneClass, variant: int) -> str:
    """File name of a variant: ``car.png``, ``car-1.png``, ``car-2.png``."""
    return f"{scene_class.slug}-{variant}.png" if variant else f"{scene_class.slug}.png"


def trim(picture: Image.Image) -> Image.Image:
    """Cut transparent borders off and shrink to `LONG_SIDE`; RGBA."""
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    picture = picture.crop(box)
    if max(picture.size) > LONG_SIDE:
        picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return picture


def _find(package: Path, vendor: Vendor, code: str) -> Path | None:
    """An emoji's picture; packages differ in whether they write the variation selector."""
    bare = code.replace("-fe0f", "")
    for name in dict.fromkeys((code, bare, f"{bare}-fe0f")):
        path = package / vendor.picture.format(code=name)
        if path.is_file():
            return path
    return None


def _save(sprite: Image.Image, path: Path) -> None:
    stream = io.BytesIO()
    sprite.save(stream, "PNG", optimize=True)
    with atomic_write(path) as file:
        file.write(stream.getvalue())


def fetch_sprites(folder: Path) -> int:
    """Write ``<folder>/<vendor>/<class>.png`` and ``<folder>/../ATTRIBUTION.md``.

    Returns:
        The number of sprites written.

    Raises:
        InputError: npm is missing or fails, or no vendor draws a class.
    """
    if shutil.which("npm") is None:
        raise InputError("npm was not found: install Node.js, or use the sprites that ship")
    count = 0
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for key, vendor in VENDORS.items():
            home = Path(scratch) / key
            home.mkdir()
            command = ["npm", "pack", "--ignore-scripts", "--silent", vendor.package]
            done = subprocess.run(command, cwd=home, capture_output=True, text=True)
            if done.returncode:
                raise InputError(f"npm pack {vendor.package} failed: {done.stderr.strip()}")
            with tarfile.open(next(home.glob("*.tgz"))) as archive:
                archive.extractall(home, filter="data")
            package = home / "package"
            version = json.loads((package / "package.json").read_text())["version"]
            rows.append(
                f"| `{key}` | {vendor.title} | `{vendor.package}` | {version} | {vendor.licence} |"
            )
            target = folder / key
            for scene_class in CLASSES:
                for number, variant in enumerate(scene_class.variants):
                    source = _find(package, vendor, variant.code)
                    if source is not None and key not in variant.without:
                        with Image.open(source) as picture:
                            sprite = trim(picture)
                        _save(sprite, target / sprite_name(scene_class, number))
                        count += 1
    for scene_class in CLASSES:
        for number in range(len(scene_class.variants)):
            if not any(
                (folder / key / sprite_name(scene_class, number)).exists() for key in VENDORS
            ):
                raise InputError(f"no vendor draws variant {number} of {scene_class.name!r}")
    text = ATTRIBUTION.format(rows="\n".join(rows), classes=len(CLASSES), side=LONG_SIDE)
    with atomic_write(folder.parent / "ATTRIBUTION.md", "w", encoding="utf-8") as file:
        file.write(text)
    return count


Sprites = Mapping[tuple[int, int], tuple[np.ndarray, ...]]


@lru_cache(maxsize=2)
def load_sprites(folder: Path) -> Sprites:
    """All sprites: (class index, variant) → the vendors' pictures, each (h, w, 4) uint8.

    Raises:
        InputError: a variant has no sprite at all.
    """
    sprites = {}
    for index, scene_class in enumerate(CLASSES):
        for number in range(len(scene_class.variants)):
            name = sprite_name(scene_class, number)
            paths = [folder / key / name for key in VENDORS]
            found = tuple(np.asarray(Image.open(path)) for path in paths if path.exists())
            if not found:
                raise InputError(f"{folder}: no sprite {name}; run `tai-dpt emoji-scenes sprites`")
            sprites[index, number] = found
    return sprites
