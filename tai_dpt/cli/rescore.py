"""``tai-dpt rescore``: a run's stored scores, rectified; no model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.options import overwrite_option
from tai_dpt.io.atomic import written_together
from tai_dpt.io.console import answer
from tai_dpt.io.output import check_output_folder


@command(counts={"sharpness": Beside("how", "softmax"), "overwrite": Beside("out")})
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--rectify",
    "how",
    type=click.Choice(["none", "centre", "standardise", "softmax"]),
    default="standardise",
    help="How each image's scores are rectified by each other.",
)
@click.option(
    "--eval-images",
    type=click.Choice(["all", "any_positive"]),
    default="all",
    help="Or leave out images that show no class (any_positive).",
)
@click.option(
    "--sharpness",
    type=click.FloatRange(0, min_open=True),
    help="Of softmax: the backbone's logit scale by the method's κ.  [default: as the run says]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the rectified scores.")
@overwrite_option
def rescore(
    run: Path,
    how: str,
    eval_images: str,
    sharpness: float | None,
    out: Path | None,
    overwrite: bool,
) -> dict[str, Any]:
    """Rectify the scores that RUN left, and print its mAP before and after.

    \b
    Examples:
      tai-dpt rescore output/TaIDPT/seed1 --rectify centre
      tai-dpt rescore output/TaIDPT/seed1 --out rectified

    RUN is a run's folder or its scores.npz. Whether to rectify is for validation images to say,
    not for the test images that this may print.
    """
    from tabulate import tabulate

    from tai_dpt.scoring.metrics import evaluate
    from tai_dpt.scoring.results import RESULTS_FILE, SCORES_FILE, run_files, save_results
    from tai_dpt.scoring.run_fusion import read_component

    if out is not None:
        files = (SCORES_FILE, RESULTS_FILE)
        check_output_folder(out, files, overwrite=overwrite, inputs=run_files(run))
    before = read_component(run)
    after = before.rectified(how, sharpness=sharpness)
    if eval_images == "any_positive":
        after = after.with_a_class()
    metrics = {}
    rows = []
    for kind in ("merged", "global", "local"):
        values = [
            evaluate(
                each.table.of(kind), each.table.labels, threshold=float("nan"), ignore=each.ignore
            )
            for each in (before, after)
        ]
        metrics[kind] = values[1].as_dict()
        rows.append([kind, *(value.mAP for value in values)])
    told = how if eval_images == "all" else f"{how}, {len(after.table.ids):,} images"
    answer(tabulate(rows, ["mAP", "as stored", told], floatfmt=".2f"))
    changed = {
        "metrics": metrics,
        "images": len(after.table.ids),
        "mAP": metrics[after.prediction]["mAP"],
        "prediction": after.prediction,
        "threshold_source": "none",
        "rescored_from": before.name,
    }
    results = {**after.results, **changed}
    if out is not None:
        with written_together(out) as folder:
            after.table.save(folder / SCORES_FILE)
            save_results(folder / RESULTS_FILE, results)
        answer(f"written: {out}")
    return results
