"""``tai-dpt fit``: a tagger from class names and captions."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.names import BACKBONE, CLASSES
from tai_dpt.cli.options import (
    RECTIFICATIONS,
    device_option,
    include_backbone_option,
    view_option,
)
from tai_dpt.errors import InputError
from tai_dpt.io.console import answer, say, step_bar
from tai_dpt.io.output import os_error
from tai_dpt.io.shipped import SHIPPED


# what learns step by step
@command(counts={"epochs": Beside("method", "tai-dpt", "comc", "mix")})
@click.option(
    "--classes",
    required=True,
    type=CLASSES,
    metavar="FILE",
    help="Class names, one a line; or YAML with synonyms; or voc2007, coco2014, nuswide.",
)
@click.option(
    "--captions",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Captions, one a line (or COCO, JSON lines, CSV, Flickr); again for more files. Left "
    "out: written from templates for the class names.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The tagger's folder, new."
)
@click.option(
    "--backbone",
    type=BACKBONE,
    show_default="that of --config, else RN50",
    help=f"A published CLIP by name, a weight file, or '{SHIPPED}' (the tiny one that ships).",
)
@click.option(
    "--method",
    type=click.Choice(["tai-dpt", "concepts", "comc", "mix"]),
    default="tai-dpt",
    help="Learn prompts; nothing (a class is the mean of the captions that name it); a linear "
    "head; or prompts with concepts added.",
)
@click.option("--epochs", type=click.IntRange(1), help="Default: as many as make 400 steps.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="A trainer's yaml to replace the recipe, e.g. configs/trainers/TaIDPT/rn50.yaml.",
)
@click.option(
    "--rectify",
    type=click.Choice(RECTIFICATIONS),
    default="none",
    help="What is done to the scores of each image, by each other.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, help="Of all that is random.")
@click.option("--overwrite", is_flag=True, help="Replace a tagger that is there.")
@include_backbone_option
@view_option("What of an image CLIP sees.  [default: as the recipe has it]")
@device_option
@click.argument("options", nargs=-1, metavar="[KEY VALUE]...")
def fit(
    classes: str,
    captions: tuple[Path, ...],
    out: Path,
    backbone: str | None,
    method: str,
    epochs: int | None,
    config: Path | None,
    rectify: Any,
    seed: int,
    overwrite: bool,
    include_backbone: bool | None,
    view: str | None,
    device: str,
    options: tuple[str, ...],
) -> dict[str, Any]:
    """Learn to recognise classes in images, from text alone.

    \b
    Examples:
      tai-dpt fit --classes classes.txt --captions corpus.txt --out my-tagger
      tai-dpt fit --classes classes.txt --out my-tagger --backbone ViT-B/16
      tai-dpt fit --classes classes.txt --captions corpus.txt --out quick \\
          --method concepts
      tai-dpt fit --classes coco2014 --captions captions_train2014.json \\
          --config configs/trainers/TaIDPT/rn50.yaml --out coco \\
          TRAINER.TAIDPT.N_CTX 8

    No image is needed. The labels of a caption are the classes it names; more captions, in the
    words people use for your kind of images, make a better tagger. KEY VALUE pairs set options
    of the configuration, as they do for train.py.
    """
    from tai_dpt.backbones import has_name
    from tai_dpt.tagger import folder as tagger_folder
    from tai_dpt.tagger.fitting import Progress, Tagger, named_backbone, unheeded_options

    given = [path for path in (classes, *captions, backbone, config) if path]
    if epochs and "OPTIM.MAX_EPOCH" in options[::2]:
        raise InputError("--epochs and OPTIM.MAX_EPOCH say the same: leave one of them out")
    for line in unheeded_options(options[::2], method=method, config=config, written=not captions):
        raise InputError(line)
    tagger_folder.check_free(out, overwrite=overwrite, inputs=given)
    name = named_backbone(backbone, config)
    tagger_folder.includes_backbone(name, None if has_name(name) else name, include_backbone)
    pairs: list[Any] = ["OPTIM.MAX_EPOCH", epochs] if epochs else []
    if not captions:
        say(
            "no --captions: learning from captions that are written from templates for the "
            "class names; real ones make a better tagger"
        )
    with step_bar() as step:
        tagger = Tagger.from_captions(
            classes=classes,
            captions=captions or None,
            device=device,
            backbone=backbone,
            method=method,
            config=config,
            options=[*pairs, *options],
            rectify=rectify,
            seed=seed,
            progress=Progress(line=say, step=step),
        )
    if view is not None:
        tagger.preprocessing = dataclasses.replace(tagger.preprocessing, view=view)
    try:
        tagger.save(out, overwrite=overwrite, include_backbone=include_backbone)
    except OSError as error:
        raise InputError(f"cannot write {os_error(error, at=out)}") from None
    answer(_account(tagger, out))
    return _facts(tagger, out)


def _facts(tagger: Any, out: Path) -> dict[str, Any]:
    return {
        "tagger": str(out),
        "method": tagger.method.name,
        "classes": tagger.classes_.tolist(),
        "captions": tagger.provenance["captions"],
        "backbone": {
            "name": tagger.backbone.name,
            "weights_sha256": tagger.backbone.weights_hash,
        },
        "calibration": tagger.calibration and tagger.calibration.as_dict(),
    }


def _account(tagger: Any, out: Path) -> str:
    counts = tagger.provenance["captions"]
    recipe = tagger.provenance["recipe"]
    source = "written from templates" if counts["written_from_templates"] else "of yours"
    lines = [
        f"{out}: {len(tagger.classes_)} classes, {tagger.backbone.name}, {tagger.method.name}",
        f"learned from {counts['learned_from']:,} texts in {recipe['steps']:,} steps (captions "
        f"{source}, and the class names in templates); loss {recipe['loss'][0]:.2f} → "
        f"{recipe['loss'][-1]:.2f}"
        if recipe["steps"]
        else f"from {counts['learned_from']:,} captions ({source}), without training",
    ]
    if counts["naming_no_class"]:
        lines.append(f"{counts['naming_no_class']:,} captions name none of the classes: left out")
    ranked = sorted(
        zip(tagger.classes_, counts["per_class"], strict=True), key=lambda pair: -pair[1]
    )
    if len(ranked) > 12:
        most = ", ".join(f"{name} {count:,}" for name, count in ranked[:5])
        fewest = ", ".join(f"{name} {count:,}" for name, count in ranked[-5:])
        lines.append(f"texts of a class: most {most}; fewest {fewest}")
    else:
        table = tabulate(ranked, ["class", "texts"], tablefmt="plain", intfmt=",")
        lines += ["", table, ""]
    if tagger.calibration is not None:
        lines += ["", tagger.calibration.account(tagger.classes_), ""]
    folder = shlex.quote(str(out))
    lines.append(
        f"Next: tai-dpt tag {folder} PHOTO…    tai-dpt explain {folder} PHOTO --class "
        f"{shlex.quote(tagger.classes_[0])} --out why.png"
    )
    return "\n".join(lines)
