"""``tai-dpt fuse``: the scores of runs become one prediction, without any model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.options import RECTIFICATIONS, overwrite_option
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import written_together
from tai_dpt.io.console import JSON, answer, asked_for, shown
from tai_dpt.io.output import check_output, check_output_folder

if TYPE_CHECKING:
    from tai_dpt.scoring.run_fusion import Component

# as in tai_dpt.scoring, here so that --help is quick
_KINDS = click.Choice(["merged", "global", "local"])
_NORMALISATIONS = click.Choice(["minmax", "zscore", "rank"])
_WEIGHT = 0.9  # λ of the public code, for two runs


@command(counts={"overwrite": (Beside("out"), Beside("curve"))})
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--weight", type=float, metavar="λ", help=f"Of two runs, the second's.  [default: {_WEIGHT}]"
)
@click.option(
    "--weights",
    metavar="W,W,…|equal|learned",
    help="Of each run, 1 together; equal; or learned on --learn-on.  [default, of more than two "
    "runs: equal]",
)
@click.option(
    "--learn-on",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="For learned weights: each run's scores of labelled images that are not those of RUN…, "
    "in the same order (evaluate with TEST.SPLIT val).",
)
@click.option(
    "--normalise",
    "how",
    type=_NORMALISATIONS,
    default="minmax",
    help="How runs' scores become comparable.",
)
@click.option(
    "--rectify",
    multiple=True,
    type=click.Choice(RECTIFICATIONS),
    help="Each image's scores by each other, first: once for all runs, or once for each.",
)
@click.option("--text-prediction", type=_KINDS, help="Of the first run; default: the run's own.")
@click.option("--image-prediction", type=_KINDS, help="Of the second run.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the fused scores.")
@click.option("--curve", type=click.Path(path_type=Path), help="Picture of the mAP over λ.")
@overwrite_option
def fuse(
    runs: tuple[Path, ...],
    weight: float | None,
    weights: str | None,
    learn_on: tuple[Path, ...],
    how: str,
    rectify: tuple[str, ...],
    text_prediction: str | None,
    image_prediction: str | None,
    out: Path | None,
    curve: Path | None,
    overwrite: bool,
) -> dict[str, Any]:
    """Fuse the scores of two or more RUNs and print the mAP.

    \b
    Examples:
      tai-dpt fuse output/TaIDPT/seed1 output/DualCoOp/seed1
      tai-dpt fuse texts images --weight 0.6 --out fused

    Each RUN is a run's folder or its scores.npz. Of two, the first learned from captions and the
    second from images as a rule: (1 - λ) FIRST + λ SECOND. The same images and classes in
    another order are aligned.
    """
    from tabulate import tabulate

    from tai_dpt.scoring.metrics import average_precisions, mean_average_precision
    from tai_dpt.scoring.results import RESULTS_FILE, SCORES_FILE, run_files, save_results
    from tai_dpt.scoring.run_fusion import fuse_runs, fused_results, read_component

    read_from = [path for run in (*runs, *learn_on) for path in run_files(run)]
    if out is not None:
        files = (SCORES_FILE, RESULTS_FILE)
        check_output_folder(out, files, overwrite=overwrite, inputs=read_from)
    if curve is not None:
        curve = check_output(curve, overwrite=overwrite, inputs=read_from, option="--curve")
        from tai_dpt.reports.drawing import picture_kind

        picture_kind(curve)
    started = time.perf_counter()
    _check(runs, weight, weights, learn_on, rectify, curve)
    kinds = [text_prediction or "", image_prediction or "", *[""] * len(runs)]
    rules = list(rectify or ("none",)) * (1 if len(rectify) > 1 else len(runs))

    def read(paths: Sequence[Path]) -> list[Component]:
        parts = zip(paths, kinds, rules, strict=False)
        return [read_component(path, kind).rectified(rule) for path, kind, rule in parts]

    components = read(runs)
    chosen, source = _weights(components, weight, weights, read(learn_on), how)
    fused = fuse_runs(components, chosen, normalisation=how)
    per_class = average_precisions(fused.merged, fused.labels, ignore=components[0].ignore)
    names = ["text", "image"] if len(runs) == 2 else [str(k + 1) for k in range(len(runs))]
    rows = [
        [name, each.prediction, _figure(each.mAP), f"{w:.3g}", shown(each.name)]
        for name, each, w in zip(names, components, chosen, strict=True)
    ]
    told = f"λ = {chosen[1]:g}, {how}" if len(runs) == 2 else f"{how}, weights: {source}"
    rows.append(["fused", "merged", _figure(mean_average_precision(per_class)), "", told])
    headers = ["", "prediction", "mAP", "weight", "scores"]
    answer(tabulate(rows, headers, disable_numparse=True))
    answer(f"\n{len(fused.ids):,} images, {len(fused.class_names)} classes")
    results: dict[str, Any] = {}
    if out is not None or asked_for(JSON):
        results = fused_results(components, fused, weights=chosen, normalisation=how, source=source)
    if out is not None:
        with written_together(out) as folder:
            fused.save(folder / SCORES_FILE)
            save_results(folder / RESULTS_FILE, results)
        answer(f"written: {out}")
    answer(f"took {1000 * (time.perf_counter() - started):.0f} ms")
    if curve is not None:
        _draw(curve, *components, weight=chosen[1], how=how)
        answer(f"picture: {curve}")
    return results


def _figure(value: float) -> str:
    from tai_dpt.scoring.metrics import percent

    return percent(value).rstrip("%")


def _check(
    runs: Sequence[Path],
    weight: float | None,
    weights: str | None,
    learn_on: Sequence[Path],
    rectify: Sequence[str],
    curve: Path | None,
) -> None:
    if len(runs) < 2:
        raise InputError("give two runs or more: a run's folder, or its scores.npz")
    if weight is not None and weights is not None:
        raise InputError("give --weight (two runs) or --weights, not both")
    if weight is not None and len(runs) != 2:
        raise InputError(f"--weight is for two runs, and there are {len(runs)}: give --weights")
    if len(rectify) > 1 and len(rectify) != len(runs):
        raise InputError(
            f"--rectify was given {len(rectify)} times: give it once, or once for each of the "
            f"{len(runs)} runs"
        )
    if (weights == "learned") != bool(learn_on):
        raise InputError("--weights learned and --learn-on go together")
    if learn_on and len(learn_on) != len(runs):
        raise InputError(
            f"--learn-on was given {len(learn_on)} times: once for each of the {len(runs)} runs, "
            "in their order"
        )
    if curve is not None and len(runs) != 2:
        raise InputError("--curve shows the mAP over λ, which is for two runs")


def _weights(
    components: Sequence[Component],
    weight: float | None,
    weights: str | None,
    learn_on: Sequence[Component],
    how: str,
) -> tuple[tuple[float, ...], str]:
    """The weights, and where they come from."""
    from tai_dpt.scoring.fusion import check_weight, check_weights, learn_weights
    from tai_dpt.scoring.run_fusion import align

    count = len(components)
    if weights == "learned":
        for run, labelled in zip(components, learn_on, strict=True):
            theirs, ours = labelled.results.get("trainer"), run.results.get("trainer")
            if None not in (theirs, ours) and theirs != ours:
                raise InputError(
                    f"--learn-on {labelled.name} is of {theirs} and stands where {run.name} does, "
                    f"which is of {ours}: give them in the order of the runs"
                )
        first, *others = learn_on
        evaluated = set(components[0].table.ids)
        seen = [image for image in first.table.ids if image in evaluated]
        if seen:
            raise InputError(
                f"{first.name}: image '{seen[0]}' is among those that are fused; weights are "
                "learned on other images"
            )
        aligned = [first, *(align(first, other) for other in others)]
        ignore = first.ignore if first.ignore is not None else first.table.labels == 0
        scores = [run.scores for run in aligned]
        learned = learn_weights(scores, first.table.labels, normalisation=how, ignore=ignore)
        return learned, f"learned on {len(first.table.ids):,} labelled images"
    if weights == "equal" or (weights is None and count > 2):
        return (1 / count,) * count, "equal"
    if weights is None:
        chosen = _WEIGHT if weight is None else weight
        check_weight(chosen)
        return (1 - chosen, chosen), "command line"
    try:
        given = tuple(float(part) for part in weights.split(","))
    except ValueError:
        raise InputError(
            f"--weights '{weights}' is neither numbers like 0.5,0.3,0.2 nor equal or learned"
        ) from None
    check_weights(given, count)
    return given, "command line"


def _draw(path: Path, text: Component, image: Component, *, weight: float, how: str) -> None:
    from matplotlib.figure import Figure

    from tai_dpt.reports.drawing import save_figure
    from tai_dpt.scoring.fusion import WEIGHTS, map_over_weights
    from tai_dpt.scoring.run_fusion import align

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
