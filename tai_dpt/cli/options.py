"""Options that several commands have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tai_dpt.cli.names import BACKBONE

if TYPE_CHECKING:
    from tai_dpt.scoring.scores import Rectification

device_option = click.option(
    "--device",
    default="auto",
    metavar="auto|cpu|gpu|cuda|cuda:N|mps",
    help="Where to compute; auto takes CUDA, else MPS, else the CPU.",
)
tagger_argument = click.argument("tagger", type=click.Path(path_type=Path))
backbone_file_option = click.option(
    "--backbone",
    type=BACKBONE,
    metavar="FILE",
    help="The backbone's weights, for a tagger folder that does not contain them.",
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is at --out.")


# as ``tai_dpt.scoring.scores.Rectification``, here so that --help is quick
RECTIFICATIONS = ("none", "centre", "standardise", "softmax")
rectify_option = click.option(
    "--rectify",
    type=click.Choice(RECTIFICATIONS),
    help="Each image's scores by each other.  [default: as it was fitted]",
)


include_backbone_option = click.option(
    "--include-backbone/--no-backbone",
    "include_backbone",
    default=None,
    show_default="included unless published",
    help="Whether the folder contains the backbone's weights.",
)


def view_option(help: str) -> Callable[[Any], Any]:
    """``--view``: how much of an image is seen."""
    return click.option("--view", type=click.Choice(("center", "whole")), help=help)


def tagger_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--device`` and ``--backbone``; the command gets ``open_tagger``: see ``load_tagger``."""

    @device_option
    @backbone_file_option
    @functools.wraps(function)
    def with_opener(*, device: str, backbone: str | None, **given: Any) -> Any:
        open_tagger = functools.partial(load_tagger, device=device, backbone=backbone)
        return function(open_tagger=open_tagger, **given)

    return with_opener


def files_of(tagger: Path, open_tagger: functools.partial[Any]) -> list[Path]:
    """What is read of a tagger, so that no output may replace it."""
    backbone = open_tagger.keywords["backbone"]
    return [*tagger.glob("*"), *([Path(backbone)] if backbone else [])]


def load_tagger(
    folder: Path,
    *,
    device: str,
    backbone: str | None = None,
    view: str | None = None,
    rectify: Rectification | None = None,
) -> Any:
    """The tagger in ``folder``, with another view or rectification where one is asked for.

    A calibration is of scores as they were rectified, so another rectification leaves none.
    """
    import dataclasses

    from tai_dpt import Tagger, distributed  # here, so that --help does not wait for torch
    from tai_dpt.scoring.rectification import check_rectification

    if device != "cpu":
        distributed.take_gpu()
    tagger = Tagger.load(folder, device=device, backbone=backbone)
    if rectify is not None and rectify != tagger.scoring.rectify:
        check_rectification(rectify, classes=len(tagger.classes_), option="--rectify")
        tagger.scoring = dataclasses.replace(tagger.scoring, rectify=rectify)
        tagger.calibration = None
    if view is not None:
        tagger.preprocessing = dataclasses.replace(tagger.preprocessing, view=view)
    return tagger
