"""``tai-dpt demo``: the whole method on ``emoji_scenes``, as a table and a picture."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate

from tai_dpt.cli.command import command
from tai_dpt.io.console import answer, say, step_bar
from tai_dpt.io.shipped import config_path, shipped_data

# the paper's row -> the trainer and which of its scores
ROWS = {
    "ZSCLIP": ("ZSCLIP", "global"),
    "ZSCLIP + DPT": ("ZSCLIP", "merged"),
    "TaI": ("TaIDPT", "global"),
    "TaI-DPT": ("TaIDPT", "merged"),
}


@command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("output/demo"),
    help="Folder of the runs.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, 2**32 - 1),
    multiple=True,
    default=(1,),
    help="Of a run; give it again for more runs.",
)
@click.option("--epochs", type=click.IntRange(1), help="Instead of the config's number.")
@click.option("--overwrite", is_flag=True, help="Replace runs with other options in --out.")
def demo(out: Path, seeds: tuple[int, ...], epochs: int | None, overwrite: bool) -> dict[str, Any]:
    """Train on the captions of emoji_scenes and test on its images.

    \b
    Examples:
      tai-dpt demo
      tai-dpt demo --seed 1 --seed 2 --seed 3 --out output/three

    No image is seen in training. Prints a table of mAP and writes scenes.png: test scenes with
    their labels, the highest predictions and a class's local scores. Several --seed give mean
    and standard deviation.
    """
    # imported here so that --help is quick
    from tai_dpt.reports.predictions import draw_predictions
    from tai_dpt.trainers.output_folder import check_training
    from tai_dpt.trainers.run import make_cfg, run

    started = time.monotonic()
    results: dict[str, list[float]] = {row: [] for row in ROWS}
    runs = [
        make_cfg(
            dataset_config=config_path("datasets", "emoji_scenes.yaml"),
            config=config_path("trainers", trainer, "emoji_scenes.yaml"),
            root=shipped_data(),
            output_dir=out / trainer / f"seed{seed}",
            seed=seed,
            trainer=trainer,
            opts=["OPTIM.MAX_EPOCH", epochs] if epochs and trainer == "TaIDPT" else [],
        )
        for seed in seeds
        for trainer in ("ZSCLIP", "TaIDPT")
    ]
    if not overwrite:
        for cfg in runs:
            check_training(cfg, remedy="choose another --out, or replace it with --overwrite")
    for cfg in runs:
        trainer = cfg.TRAINER.NAME
        work = "zero-shot CLIP" if trainer == "ZSCLIP" else "learning prompts from captions"
        say(f"seed {cfg.SEED}: {work} …")
        with step_bar() if trainer == "TaIDPT" else nullcontext() as step:
            finished = run(cfg, overwrite=overwrite, quiet=True, watch=step)
        for row, (name, prediction) in ROWS.items():
            if name == trainer:
                results[row].append(finished.evaluator.results[prediction].mAP)
    n_images = len(finished.images["test"])
    rows = [[row, *_mean_and_deviation(values)] for row, values in results.items()]
    headers = ["method", "mAP"] + (["±"] if len(seeds) > 1 else [])
    answer(
        f"\nemoji_scenes, {n_images} test scenes, {finished.num_classes} classes, "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}\n"
    )
    answer(tabulate(rows, headers, floatfmt=".1f", tablefmt="github"))
    picture = out / "scenes.png"
    draw_predictions(finished, picture)
    answer(
        f"\npicture: {picture}\nlogs, checkpoints, scores: {out}\n"
        f"took {time.monotonic() - started:.0f} s\n\n"
        f"Next: tai-dpt page {out}/TaIDPT/seed{seeds[0]}    tai-dpt fit --help, for classes of "
        "your own"
    )
    return {"seeds": seeds, "images": n_images, "mAP": results, "picture": picture, "runs": out}


def _mean_and_deviation(values: list[float]) -> list[float]:
    return [float(np.mean(values))] + ([float(np.std(values, ddof=1))] if len(values) > 1 else [])
