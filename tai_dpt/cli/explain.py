"""``tai-dpt explain``: where in an image, or in which words of a caption, a class is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from tabulate import tabulate

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.names import FILE
from tai_dpt.cli.options import files_of, overwrite_option, tagger_argument, tagger_options
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.console import JSON, answer, asked_for, say
from tai_dpt.io.output import check_output, os_error

if TYPE_CHECKING:
    from tai_dpt.reports.heatmaps import CaptionExplanation, ImageExplanation

_SUFFIXES = (".png", ".html")
_SHIFTS = 4


@command(counts={"overwrite": Beside("out")})
@tagger_argument
@click.argument("images", type=FILE, nargs=-1, metavar="[IMAGE]...")
@click.option(
    "--class",
    "classes",
    multiple=True,
    help="A class to look for; again for more.  [default: the three likeliest]",
)
@click.option("--text", "captions", multiple=True, help="A caption, in place of an image.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A .png or .html.")
@overwrite_option
@tagger_options
def explain(
    tagger: Path,
    images: tuple[str, ...],
    classes: tuple[str, ...],
    captions: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    open_tagger: Any,
) -> dict[str, Any]:
    """Show where the local prompt of a class answers, in images and in captions.

    \b
    Examples:
      tai-dpt explain my-tagger photo.jpg --class dog --class car --out why.png
      tai-dpt explain my-tagger a.jpg b.jpg --class dog --out why.html
      tai-dpt explain my-tagger --text "two dogs chase a red car" --class dog

    A heat map shows what the tagger finds of the class at every place of the image: similarity,
    the logit of a linear head (comc) or the log-probability of an adapted tagger; on one scale
    for all panels of an image. The number beside a class is its probability. In a caption each
    word is shaded likewise. Captions without --out are shown as a table.
    """
    if not images and not captions:
        raise InputError("give an image, or a caption with --text")
    if images and out is None and not asked_for(JSON):
        raise InputError("say where the image goes: --out why.png or --out why.html")
    if out is not None:
        out = check_output(
            out, overwrite=overwrite, inputs=[*images, *files_of(tagger, open_tagger)]
        )
        if out.suffix.lower() not in _SUFFIXES:
            raise unknown("kind of file for --out", out.suffix or out.name, _SUFFIXES)
    from tai_dpt.reports.explaining import explain_caption, explain_image

    loaded = open_tagger(tagger)
    loaded.class_indices(classes)  # complain of an unknown class before anything is drawn
    seen = [
        explain_image(
            loaded,
            loaded.preprocessing.read(path),
            classes,
            name=Path(path).name,
            shifts=_SHIFTS,
        )
        for path in images
    ]
    read = [explain_caption(loaded, caption, classes) for caption in captions]
    if out is not None:
        _write(out, seen, read)
        say(f"wrote {out}")
    for caption in read if out is None else ():
        answer(_table(caption))
    return _numbers(seen, read)


def _write(out: Path, images: list[ImageExplanation], captions: list[CaptionExplanation]) -> None:
    from tai_dpt.io.atomic import atomic_write
    from tai_dpt.reports.drawing import save_figure
    from tai_dpt.reports.explain_page import explain_page
    from tai_dpt.reports.heatmaps import draw

    try:
        if out.suffix.lower() == ".html":
            with atomic_write(out, "w", encoding="utf-8") as stream:
                stream.write(explain_page(images, captions))
        else:
            save_figure(draw(images, captions), out, dpi=110)
    except OSError as error:
        raise InputError(f"cannot write {os_error(error, at=out)}") from None


def _numbers(images: list[ImageExplanation], captions: list[CaptionExplanation]) -> dict[str, Any]:
    from tai_dpt.reports.heatmaps import decimals

    def rounded(item: ImageExplanation | CaptionExplanation, values: np.ndarray) -> Any:
        return np.round(values.astype(float), decimals(*item.limits) + 3).tolist()

    return {
        "images": [
            {
                "image": item.name,
                "unit": item.unit,
                "classes": [
                    {
                        "class": name,
                        "probability": round(float(p), 4),
                        "heat": rounded(item, heat),
                    }
                    for name, p, heat in zip(
                        item.classes, item.probabilities, item.heat, strict=True
                    )
                ],
            }
            for item in images
        ],
        "captions": [
            {
                "words": list(item.words),
                "classes": list(item.classes),
                "unit": item.unit,
                "similarity": rounded(item, item.values),
                "whole": rounded(item, item.whole),
            }
            for item in captions
        ],
    }


def _table(caption: CaptionExplanation) -> str:
    from tai_dpt.reports.heatmaps import decimals, number

    digits = decimals(*caption.limits)
    lines = [*zip(caption.words, caption.values, strict=True), ("(whole caption)", caption.whole)]
    rows = [[word, *(number(value, digits) for value in values)] for word, values in lines]
    align = ("left", *["right"] * len(caption.classes))
    header = ["word", *caption.classes]
    return tabulate(rows, header, "simple", disable_numparse=True, colalign=align) + "\n"
