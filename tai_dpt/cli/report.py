"""``tai-dpt report``: the paper's tables and figures from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.names import FILE
from tai_dpt.errors import InputError
from tai_dpt.io.console import answer, say
from tai_dpt.io.output import check_output
from tai_dpt.reports.render import FORMATS, render
from tai_dpt.reports.rows import Table
from tai_dpt.reports.runs import find_runs, group_runs
from tai_dpt.reports.tables import TABLES, expected_seeds, list_groups, nothing_for
from tai_dpt.scoring.results import run_files


def _numbers(kind: str) -> list[str]:
    """The tables or figures there are: what is behind the word."""
    return [name.removeprefix(f"{kind} ") for name in TABLES if name.startswith(kind)]


@command(
    counts={
        **dict.fromkeys(
            ("table", "figure", "every_run", "out", "style", "ci95", "seeds"),
            Beside("html", absent=True),
        ),
        "overwrite": (Beside("out"), Beside("html")),
    }
)
@click.argument("places", type=FILE, nargs=-1, metavar="[FOLDER|PATTERN]...")
@click.option("--table", type=click.Choice(_numbers("table")), help="This table only.")
@click.option("--figure", type=click.Choice(_numbers("figure")), help="This plot's figures only.")
@click.option("--runs", "every_run", is_flag=True, help="Every group of runs, in no table's shape.")
@click.option("--out", type=click.Path(path_type=Path), help="Draw --figure: .png, .pdf or .svg.")
@click.option(
    "--format", "style", type=click.Choice(FORMATS), default="text", help="How tables are written."
)
@click.option("--ci95", is_flag=True, help="95 % interval of the mean, not standard deviation.")
@click.option(
    "--seeds", type=click.IntRange(1), help="Seeds that a row should have.  [default: most]"
)
@click.option("--overwrite", is_flag=True, help="Replace what is at --out or --html.")
@click.option(
    "--html", type=click.Path(path_type=Path), help="A page of one run, see 'tai-dpt page'."
)
def report(
    places: tuple[str, ...],
    table: str | None,
    figure: str | None,
    every_run: bool,
    out: Path | None,
    style: str,
    ci95: bool,
    seeds: int | None,
    html: Path | None,
    overwrite: bool,
) -> dict[str, Any]:
    """Gather finished runs over their seeds and print the paper's tables.

    Looks for results.json in and below the folders (default: output); a pattern may be quoted.
    Without --table or --figure it prints all that there are runs for. The paper's own figures
    stand beneath where the benchmark is the paper's. What is unfinished or broken is listed
    beneath the tables (with --format csv on stderr). Exit code 2 where nothing was found.

    \b
    Examples:
      tai-dpt report output/voc2007 --table 1
      tai-dpt report 'output/*/TaIDPT' --format latex --ci95
      tai-dpt report output/coco2014 --figure 6 --out figure6.png
      tai-dpt report output/demo/TaIDPT/seed1 --html run.html
    """
    if html is not None:
        if len(places) != 1:
            raise click.UsageError("--html takes the folder of one run")
        read = run_files(Path(places[0]))
        html = check_output(html, overwrite=overwrite, inputs=read, option="--html")
        from tai_dpt.reports.run_page import write_page  # needs torch, tables do not

        write_page(Path(places[0]), html, say=say)
        return {"page": html}
    kinds = [f"table {table}"] if table else []
    kinds += [f"figure {figure}"] if figure else []
    if len(kinds) + every_run > 1:
        raise click.UsageError("--table, --figure and --runs exclude each other")
    if out is not None and figure is None:
        raise click.UsageError("--out needs --figure 6 or --figure 7")

    if out is not None:
        out = check_output(out, overwrite=overwrite)

    runs, remarks = find_runs(places or ("output",))
    groups, left_out = group_runs(runs)
    remarks += left_out
    number = seeds or expected_seeds(groups)
    tables: list[Table] = []
    for kind in kinds or ([] if every_run else TABLES):
        tables += TABLES[kind](groups, number)
    if not kinds:
        shown = {group for table in tables for row in table.rows for group in row.groups}
        if others := [group for group in groups if group not in shown]:
            tables.append(list_groups(others, number))
    if not tables:
        lacking = nothing_for(kinds[0] if kinds else "")
        if not remarks:
            raise InputError(lacking)
        remarks.insert(0, lacking)
    answer(render(tables, remarks, style=style, ci95=ci95))
    if style == "csv":
        for remark in [*(r for shown_table in tables for r in shown_table.remarks), *remarks]:
            say(remark)
    if out is not None:
        from tai_dpt.reports.figures import draw  # here: matplotlib takes a second

        draw(tables, out, ci95=ci95)
        (answer if style == "text" else say)(f"\npicture: {out}")
    return {"tables": [_plain(table) for table in tables], "remarks": remarks, "picture": out}


def _plain(table: Table) -> dict[str, Any]:
    """A table for ``--json``: of each row the figures by column, one for each seed."""
    rows = [
        {
            "method": row.label,
            "published": row.published,
            "mAP": {
                column: cell and cell.values
                for column, cell in zip(table.columns, row.cells, strict=True)
            },
        }
        for row in table.rows
    ]
    about = {"table": table.kind, "dataset": table.dataset, "columns_are": table.axis}
    return {**about, "rows": rows, "remarks": table.remarks}
