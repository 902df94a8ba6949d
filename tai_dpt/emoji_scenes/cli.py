"""``tai-dpt emoji-scenes``: make the small world that ships with the project."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import CONTEXT, Command
from tai_dpt.cli.options import overwrite_option
from tai_dpt.errors import InputError
from tai_dpt.io.console import answer
from tai_dpt.io.output import check_output, check_output_folder, check_room
from tai_dpt.io.shipped import shipped_data

_HOME = shipped_data() / "emoji_scenes"

_sprites_option = click.option(
    "--sprites",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=_HOME / "sprites",
    help="Folder of sprites (default: those that ship).",
)


class _Group(click.Group):
    command_class = Command


@click.group("emoji-scenes", cls=_Group, context_settings=CONTEXT)
def emoji_scenes() -> None:
    """Make the small world that ships with the project."""


@emoji_scenes.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Data folder; sprites go to OUT/sprites, where they come from to OUT/ATTRIBUTION.md.",
)
@overwrite_option
def sprites(out: Path, overwrite: bool) -> dict[str, Any]:
    """Fetch the emoji with npm and keep small sprites of the classes."""
    from tai_dpt.emoji_scenes.sprites import fetch_sprites

    check_output_folder(out, ["sprites", "ATTRIBUTION.md"], overwrite=overwrite)
    count = fetch_sprites(out / "sprites")
    answer(f"{count} sprites in {out / 'sprites'}")
    return {"sprites": count, "folder": out / "sprites"}


@emoji_scenes.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the images and captions.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of all that is random.")
@click.option(
    "--scale",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    help="Make this share of the scenes and captions.",
)
@_sprites_option
@overwrite_option
def build(out: Path, seed: int, scale: float, sprites: Path, overwrite: bool) -> dict[str, Any]:
    """Write captions, annotations and images; about half a minute."""
    from tai_dpt.emoji_scenes.build import MADE, Counts
    from tai_dpt.emoji_scenes.build import build as write

    if math.isnan(scale):
        raise InputError("--scale is nan; it is a share, such as 0.1")
    counts = Counts().scaled(scale)
    check_output_folder(out, MADE, overwrite=overwrite)
    write(out=out, sprites=sprites, seed=seed, counts=counts)
    answer(
        f"{counts.captions} captions, {counts.train} + {counts.val} + {counts.test} "
        f"scenes (train, val, test) in {out}"
    )
    return {**asdict(counts), "folder": out}


@emoji_scenes.command("train-clip")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The weights, a safetensors file.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for drawn scenes (1.5 GB) and the checkpoint; the same folder resumes.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Default: the shipped weights' recipe.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of all that is random.")
@click.option("--threads", type=click.IntRange(min=1), help="PyTorch's threads.")
@_sprites_option
@overwrite_option
def train_clip(
    out: Path,
    work: Path,
    steps: int | None,
    seed: int,
    threads: int | None,
    sprites: Path,
    overwrite: bool,
) -> dict[str, Any]:
    """Train the tiny CLIP from nothing; about 45 minutes on one core."""
    import torch

    from tai_dpt.emoji_scenes.train_clip import Recipe, train
    from tai_dpt.labels.class_lists import imagenet_templates

    out = check_output(out, overwrite=overwrite)
    check_room(work, option="--work")
    if threads:
        torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps)
    loss = train(recipe=recipe, sprites=sprites, work=work, out=out, templates=imagenet_templates())
    answer(f"final loss {loss:.4f}; weights in {out}")
    return {"final_loss": loss, "weights": out}
