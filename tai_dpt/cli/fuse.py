"""``tai-dpt fuse``: two runs' scores become one prediction, without any model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tai_dpt.scoring.fusion import Component
    from tai_dpt.scoring.results import ScoreTable

# as scoring.results.PREDICTIONS and scoring.fusion.NORMALISATIONS, here so that --help is quick
_PREDICTIONS = click.Choice(["merged", "global", "local"])
_NORMALISATIONS = click.Choice(["minmax", "zscore", "rank"])


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("text", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--weight", type=float, default=0.9, help="λ, the share of IMAGE, in [0, 1].")
@click.option("--normalise", "how", type=_NORMALISATIONS, default="minmax")
@click.option("--text-prediction", type=_PREDICTIONS, help="Scores of TEXT; default: the run's.")
@click.option("--image-prediction", type=_PREDICTIONS, help="The same of IMAGE.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the fused scores.")
@click.option("--curve", type=click.Path(path_type=Path), help="Image of the mAP over λ.")
def fuse(
    text: Path,
    image: Path,
    weight: float,
    how: str,
    text_prediction: str | None,
    image_prediction: str | None,
    out: Path | None,
    curve: Path | None,
) -> None:
    """Fuse the scores of TEXT and IMAGE, (1 - λ) TEXT + λ IMAGE, and print the mAP.

    TEXT and IMAGE are runs' folders or their scores.npz; TEXT learned from captions, IMAGE from
    images. The same images and classes in another order are aligned.
    """
    from tabulate import tabulate

    from tai_dpt.scoring.fusion import fuse_components, read_component
    from tai_dpt.scoring.metrics import average_precisions, mean_average_precision

    if curve is not None:
        from tai_dpt.reports.drawing import picture_kind

        picture_kind(curve)
    started = time.perf_counter()
    ours = read_component(text, text_prediction or "")
    theirs = read_component(image, image_prediction or "")
    fused = fuse_components(ours, theirs, weight=weight, normalisation=how)
    per_class = average_precisions(fused.merged, fused.labels, ignore=ours.ignore)
    rows = [
        ["text", ours.prediction, _figure(ours.mAP), ours.name],
        ["image", theirs.prediction, _figure(theirs.mAP), theirs.name],
        ["fused", "merged", _figure(mean_average_precision(per_class)), f"λ = {weight:g}, {how}"],
    ]
    headers = ["", "prediction", "mAP", "scores"]
    click.echo(tabulate(rows, headers, disable_numparse=True))
    click.echo(f"\n{len(fused.ids):,} images, {len(fused.class_names)} classes")
    if out is not None:
        _save(out, fused, ours, theirs, weight=weight, how=how)
        click.echo(f"written: {out}")
    click.echo(f"took {1000 * (time.perf_counter() - started):.0f} ms")
    if curve is not None:
        _draw(curve, ours, theirs, weight=weight, how=how)
        click.echo(f"picture: {curve}")


def _figure(value: float) -> str:
    from tai_dpt.scoring.metrics import percent

    return percent(value).rstrip("%")


def _save(
    folder: Path, fused: ScoreTable, text: Component, image: Component, *, weight: float, how: str
) -> None:
    """Write scores.npz and results.json as the trainer TaIDPTEnsemble does."""
    from tai_dpt.scoring.fusion import fusion_summary
    from tai_dpt.scoring.metrics import evaluate
    from tai_dpt.scoring.results import RESULTS_FILE, SCORES_FILE, save_results, versions

    metrics = {
        name: evaluate(fused.of(name), fused.labels, threshold=float("nan"), ignore=text.ignore)
        for name in ("merged", "global", "local")
    }
    origin = image.results or text.results
    results: dict[str, Any] = {
        "trainer": "TaIDPTEnsemble",
        "dataset": origin.get("dataset"),
        "split": origin.get("split"),
        "seed": origin.get("seed"),
        "images": len(fused.ids),
        "prediction": "merged",
        "mAP": metrics["merged"].mAP,
        "metrics": {name: result.as_dict() for name, result in metrics.items()},
        "threshold_source": "none",
        "unknown_labels": "negatives" if text.ignore is None else "ignored",
        "class_names": list(fused.class_names),
        "versions": versions(),
        "config": origin.get("config", {}),
        "fusion": fusion_summary(
            text, image, weight=weight, normalisation=how, source="command line"
        ),
    }
    fused.save(folder / SCORES_FILE)
    save_results(folder / RESULTS_FILE, results)


def _draw(path: Path, text: Component, image: Component, *, weight: float, how: str) -> None:
    from matplotlib.figure import Figure

    from tai_dpt.reports.drawing import save_figure
    from tai_dpt.scoring.fusion import WEIGHTS, align, map_over_weights

    labels = text.table.labels
    values = map_over_weights(
        text.scores,
        align(text, image).scores,
        labels,
        weights=WEIGHTS,
        normalisation=how,
        ignore=text.ignore,
    )
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(WEIGHTS, values, marker="o", markersize=3)
    axes.axvline(weight, color="grey", linestyle="--", linewidth=1, label=f"λ = {weight:g}")
    axes.set_xlabel("λ  (0: text-learned, 1: image-learned)")
    axes.set_ylabel("mAP (%)")
    axes.set_title("To look at, not to choose λ by: these are the evaluated labels", fontsize=9)
    axes.legend()
    save_figure(figure, path, dpi=150)
