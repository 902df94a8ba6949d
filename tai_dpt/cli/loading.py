"""Opening a tagger for a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tai_dpt.scoring.scores import Rectification

# as ``tai_dpt.scoring.scores.Rectification``, here so that --help is quick
RECTIFICATIONS = ("none", "centre", "standardise", "softmax")
rectify_option = click.option(
    "--rectify",
    type=click.Choice(RECTIFICATIONS),
    help="Each image's scores by each other.  [default: as it was fitted]",
)


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

    from tai_dpt import Tagger
    from tai_dpt.scoring.rectification import check_rectification

    tagger = Tagger.load(folder, device=device, backbone=backbone)
    if rectify is not None and rectify != tagger.scoring.rectify:
        check_rectification(rectify, classes=len(tagger.classes_), option="--rectify")
        tagger.scoring = dataclasses.replace(tagger.scoring, rectify=rectify)
        tagger.calibration = None
    if view is not None:
        tagger.preprocessing = dataclasses.replace(tagger.preprocessing, view=view)
    return tagger
