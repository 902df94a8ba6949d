"""``tai-dpt adapt``: a tagger fitted to the photos it will see, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.options import (
    include_backbone_option,
    overwrite_option,
    tagger_argument,
    tagger_options,
    view_option,
)
from tai_dpt.errors import InputError, Stopped, first_few
from tai_dpt.io.console import answer, bar, say, shown
from tai_dpt.io.image_files import find_images


@command(counts={"overwrite": Beside("resume", absent=True)})
@tagger_argument
@click.argument("images", nargs=-1, metavar="IMAGE|FOLDER|PATTERN...")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The new tagger's folder."
)
@click.option(
    "--setting",
    type=click.Choice(["voc2007", "coco2014", "nuswide"]),
    default="coco2014",
    help="Whose published constants to take.",
)
@click.option("--resume", is_flag=True, help="Go on where it was interrupted.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, help="Images that CLIP sees at once."
)
@click.option("--workers", type=click.IntRange(0), default=4, help="Threads that read images.")
@overwrite_option
@include_backbone_option
@view_option("What of an image CLIP sees from now on.  [default: as the tagger has it]")
@tagger_options
def adapt(
    tagger: Path,
    images: tuple[str, ...],
    out: Path,
    setting: Any,
    resume: bool,
    batch_size: int,
    workers: int,
    overwrite: bool,
    include_backbone: bool | None,
    view: str | None,
    open_tagger: Any,
) -> dict[str, Any]:
    """Adapt a tagger to unlabelled photos of the kind it will see.

    \b
    Examples:
      tai-dpt adapt my-tagger photos/ --out adapted
      tai-dpt adapt my-tagger photos/ --out adapted --setting voc2007
      tai-dpt adapt my-tagger photos/ --out adapted --resume

    What the tagger's class embeddings are surest of in the photos makes a classifier of their
    patches (PIAA, docs/methods.md). No label is read. Whether it helps depends on the backbone:
    compare both on a few labelled images before you rely on it.
    """
    from tai_dpt.tagger import folder as tagger_folder
    from tai_dpt.tagger.adapting import adapt as adapted_to

    found = find_images(images)
    if found.left_aside:
        say(f"left aside: {found.left_aside}")
    own = [tagger / name for name in (tagger_folder.ABOUT_FILE, tagger_folder.EMBEDDINGS_FILE)]
    tagger_folder.check_free(out, overwrite=overwrite, inputs=[*own, *found.paths])
    unfinished = out.with_name(f"{out.name}.part")
    if unfinished.exists() and overwrite:
        unfinished.unlink()
    elif unfinished.exists() and not resume:
        raise InputError(
            f"{unfinished} is what an interrupted run left; add --resume to go on with it, or "
            "--overwrite"
        )
    loaded = open_tagger(tagger, view=view)
    tagger_folder.includes_backbone(loaded.backbone.name, loaded.backbone_file, include_backbone)
    with bar(desc="looking", unit=" images") as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.update(done - progress.n)

        try:
            result = adapted_to(
                loaded,
                found.paths,
                setting=setting,
                unfinished=unfinished,
                progress=show,
                batch_size=batch_size,
                workers=workers,
            )
        except Stopped as stop:
            stop.hint = f"the same command with --resume goes on with {unfinished}"
            raise
    result.tagger.save(out, overwrite=overwrite, include_backbone=include_backbone)
    unfinished.unlink(missing_ok=True)
    for error in result.errors:
        say(f"left out: {shown(error)}")
    answer(f"{out}: adapted to {result.images:,} images, {sum(result.patches):,} of their patches")
    if result.without:
        answer(
            f"{len(result.without)} classes were seen in no patch; their text embeddings stand in: "
            f"{first_few(result.without, 8)}"
        )
    calibration = result.tagger.calibration
    if calibration is not None:
        answer(calibration.account(result.tagger.classes_.tolist()))
    return {
        "tagger": out,
        "images": result.images,
        "unreadable": result.errors,
        "patches": dict(zip(result.tagger.classes_.tolist(), result.patches, strict=True)),
        "without_patches": result.without,
        "calibration": calibration and calibration.as_dict(),
    }
