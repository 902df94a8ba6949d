"""``tai-dpt page``: a finished run as one HTML file that opens from disk."""

from __future__ import annotations

from pathlib import Path

import click

from tai_dpt.cli.command import command
from tai_dpt.cli.options import overwrite_option
from tai_dpt.errors import InputError
from tai_dpt.io.console import say
from tai_dpt.io.output import check_output


@command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The page.  [default: report.html in RUN]"
)
@click.option("--root", type=click.Path(path_type=Path), help="Where the data are now.")
@click.option("--per-class", type=click.IntRange(0), default=2, help="Images of each kind.")
@overwrite_option
def page(
    run: Path,
    out: Path | None,
    root: Path | None,
    per_class: int,
    overwrite: bool,
) -> dict[str, Path]:
    """Make an HTML page of a finished run.

    \b
    Examples:
      tai-dpt page output/demo/TaIDPT/seed1
      tai-dpt page output/coco/seed1 --root /data --per-class 3 --out coco.html

    One file, no network: configuration, curves, average precision of every class, its surest,
    missed and falsely found images with heat maps, the classes that are confused, the corpus in
    numbers. Without the data the page is made from what the run left, and says what it lacks.
    """
    out = out or run / "report.html"
    if (run / "tagger.json").is_file():
        raise InputError(
            f"{run} is a tagger, and this page is of a training run: 'tai-dpt explain {run} IMAGE "
            f"--out why.html' or 'tai-dpt app {run}' show what a tagger sees"
        )
    read = [run / name for name in ("results.json", "scores.npz", "history.jsonl")]
    out = check_output(out, overwrite=overwrite, inputs=read)
    from tai_dpt.reports.run_page import write_page  # here, so that --help does not wait for torch

    write_page(run, out, root=root, per_class=per_class, say=say)
    return {"run": run, "page": out}
