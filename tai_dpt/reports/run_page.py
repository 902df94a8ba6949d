"""``page``: a finished run as one HTML file that opens from disk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.console import CONTEXT, one_line_warnings, quiet_option, say
from tai_dpt.reports import page as html
from tai_dpt.reports.page_charts import STYLE as CHART_STYLE
from tai_dpt.reports.page_charts import bars, line_chart
from tai_dpt.reports.page_images import images
from tai_dpt.reports.reopened_run import ReopenedRun, reopen_run
from tai_dpt.scoring.results import ScoreTable, flat_config, page_results

_MOST_PAIRS = 15

_STYLE = (
    CHART_STYLE
    + """
.tiles { display: grid; gap: 0.7rem; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr));
  padding: 0; margin: 1rem 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 0.6rem 0.9rem; }
.tiles b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; padding: 0; list-style: none; }
details { border-bottom: 1px solid var(--line); } details[open] { padding-bottom: 1rem; }
summary { cursor: pointer; padding: 0.5rem 0; }
.shots { display: grid; gap: 0.7rem;
  grid-template-columns: repeat(auto-fill, minmax(min(46%, 17rem), 1fr)); }
.shots .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 3px; }
.shots .pair img { width: 100%; aspect-ratio: 1; object-fit: cover; }
"""
)


@click.command(context_settings=CONTEXT)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="[default: report.html in RUN]")
@click.option("--root", type=click.Path(path_type=Path), help="Where the data are now.")
@click.option("--per-class", type=click.IntRange(0), default=2, help="Images of each kind.")
@quiet_option
def page(run: Path, out: Path | None, root: Path | None, per_class: int, quiet: bool) -> None:
    """Make an HTML page of a finished run.

    \b
    Examples:
      tai-dpt page output/demo/TaIDPT/seed1
      tai-dpt page output/coco/seed1 --root /data --per-class 3 --out coco.html

    One file, no network: configuration, curves, average precision of every class, its best and
    worst images with heat maps, the classes that are confused, the corpus in numbers. Without
    the data the page is made from what the run left, and says what it lacks.
    """
    write_page(run, out or run / "report.html", root=root, per_class=per_class, quiet=quiet)


def write_page(
    run: Path, target: Path, *, root: Path | None = None, per_class: int = 2, quiet: bool = False
) -> None:
    """Write :func:`report_page` of ``run`` to ``target`` and say so."""
    with one_line_warnings():
        content = report_page(
            run, root=root, per_class=per_class, say=lambda t: say(t, quiet=quiet)
        )
        with atomic_write(target, "w", encoding="utf-8") as stream:
            stream.write(content)
    say(f"wrote {target}, {target.stat().st_size / 1e6:.1f} MB", quiet=quiet)


def report_page(
    run: Path, *, root: Path | None = None, per_class: int = 2, say: Any = lambda line: None
) -> str:
    """The page of the run in folder ``run``, as HTML.

    Args:
        root: where the data are, if not where the run had them.
        per_class: images of each kind for each class; 0 for none.

    Raises:
        InputError: the folder holds no finished run.
    """
    results, table = page_results(run)
    again, missing = reopen_run(run, results, root)
    scores = table.of(results["prediction"])
    title = f"{results['trainer']} on {_dataset_name(results)}, seed {results['seed']}"
    sections = {
        "Curves": _curves(run),
        "Classes": _classes(results, table, again),
        "Confused": _confused(table, scores),
        "Images": images(table, scores, again, per_class, say) if per_class else "",
        "Corpus": _corpus(table.class_names, again),
        "Configuration": _configuration(results),
    }
    links = "".join(f'<li><a href="#{n.lower()}">{n}</a></li>' for n, s in sections.items() if s)
    body = [
        f"<h1>{html.text(title)}</h1>",
        _tiles(results),
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>',
    ]
    if missing:
        body.append(f"<p><strong>Left out:</strong> {html.text(missing)}</p>")
    for name, section in sections.items():
        if section:
            body.append(f'<section id="{name.lower()}"><h2>{name}</h2>{section}</section>')
    return html.document(title, "\n".join(body), style=_STYLE)


def _dataset_name(results: dict[str, Any]) -> str:
    """A data set in COCO's format is known by its folder."""
    coco = results["config"].get("DATASET", {}).get("COCO", {}).get("TEST") or ()
    if results["dataset"] == "CocoFormat" and coco:
        return str(coco[0]).split("/")[0]
    return results["dataset"]


def _tiles(results: dict[str, Any]) -> str:
    metrics = results["metrics"]
    chosen = metrics[results["prediction"]]
    tiles = [(f"mAP, {name}", metrics[name]["mAP"], 1) for name in metrics]
    if chosen["threshold"] is not None:
        tiles += [("OF1", chosen["f1"]["of1"], 1), ("CF1", chosen["f1"]["cf1"], 1)]
    tiles += [(f"{results['split']} images", results["images"], 0)]
    items = "".join(
        f"<li><b>{value:,.{digits}f}</b>{html.text(name)}</li>" for name, value, digits in tiles
    )
    note = (
        f"<p>mAP in percent; the prediction is the {html.text(results['prediction'])} score. "
        + (
            f"F1 at the threshold from {html.text(results['threshold_source'])}."
            if chosen["threshold"] is not None
            else ""
        )
        + "</p>"
    )
    return f'<ul class="tiles">{items}</ul>{note}'


# -- what the log shows ------------------------------------------------------------------------

_LOG_LINE = re.compile(r"epoch \[(\d+)/\d+\] batch \[(\d+)/(\d+)\] .*? lr (\S+)")
_LOSS = re.compile(r"(loss\w*) ([-+.\deE]+) \(")


def _curves(run: Path) -> str:
    """Losses and learning rate over the steps. Nothing else records them."""
    losses: dict[str, dict[float, float]] = {}
    rates: dict[float, float] = {}
    for log in sorted(run.glob("log.txt*"), key=lambda path: path.stat().st_mtime):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _LOG_LINE.search(line)
            if not found:
                continue
            epoch, batch, batches = (int(found[i]) for i in (1, 2, 3))
            step = float((epoch - 1) * batches + batch)
            rates[step] = float(found[4])
            for name, value in _LOSS.findall(line):
                losses.setdefault(name, {})[step] = float(value)
    if not rates:
        return ""
    shown = {name.replace("_", " "): sorted(values.items()) for name, values in losses.items()}
    parts = []
    if shown:
        parts.append(f"<h3>Loss</h3>{line_chart('Loss', shown, x_label='step')}")
    rate = {"learning rate": sorted(rates.items())}
    parts.append(f"<h3>Learning rate</h3>{line_chart('Learning rate', rate, x_label='step')}")
    return f'<div class="columns">{"".join(f"<div>{p}</div>" for p in parts)}</div>'


# -- the scores --------------------------------------------------------------------------------


def _classes(results: dict[str, Any], table: ScoreTable, again: ReopenedRun) -> str:
    merged = results["metrics"][results["prediction"]]["per_class_ap"]
    ap = np.array([np.nan if v is None else v for v in merged])
    images = (table.labels > 0).sum(0)
    captions = None if again.corpus is None else again.corpus.per_class_counts
    headers = ["class", "AP", "images", *([] if captions is None else ["texts"])]
    rows = []
    for index in np.argsort(-np.nan_to_num(ap, nan=-1), kind="stable"):
        further = [f"{images[index]:,}"]
        further += [] if captions is None else [f"{captions[index]:,}"]
        rows.append((table.class_names[index], float(ap[index]), further))
    half = -(-len(rows) // 2) if len(rows) > 16 else len(rows)
    parts = [rows[:half], rows[half:]] if half < len(rows) else [rows]
    names = ["better half", "other half"] if len(parts) > 1 else ["all classes"]
    tables = [
        f"<div>{bars(f'Average precision, {name}', headers, part, most=100)}</div>"
        for name, part in zip(names, parts, strict=True)
    ]
    return f'<div class="columns">{"".join(tables)}</div>'


def confused_pairs(
    table: ScoreTable, scores: NDArray[np.floating]
) -> list[tuple[float, int, int, int]]:
    """(share, count, present class, absent class) where the absent one scores higher.

    The share is of the images that have the one and not the other; most confused first.
    """
    present, absent = table.labels > 0, table.labels < 0
    found = []
    for i in range(len(table.class_names)):
        rows = present[:, i]
        if rows.sum() < 5:  # a share of fewer images says little
            continue
        higher = (scores[rows] > scores[rows, i : i + 1]) & absent[rows]
        without = absent[rows].sum(0)
        for j in np.flatnonzero(higher.sum(0)):
            found.append(
                (float(higher[:, j].sum() / without[j]), int(higher[:, j].sum()), i, int(j))
            )
    return sorted(found, key=lambda pair: (-pair[0], -pair[1], pair[2], pair[3]))


def _confused(table: ScoreTable, scores: NDArray[np.floating]) -> str:
    rows = [
        (
            f"{table.class_names[j]} above {table.class_names[i]}",
            100 * share,
            [f"{count:,}"],
        )
        for share, count, i, j in confused_pairs(table, scores)[:_MOST_PAIRS]
    ]
    if not rows:
        return ""
    caption = (
        "Of the images that have the second class and not the first: in how many the first "
        "scores higher all the same"
    )
    return bars(caption, ["pair", "%", "images"], rows, most=100)


# -- the corpus and the configuration ----------------------------------------------------------


def _corpus(class_names: Sequence[str], again: ReopenedRun) -> str:
    corpus = again.corpus
    if corpus is None:
        return ""
    per_text = corpus.labels.sum(1, dtype=np.int64)
    words = np.array([len(text.split()) for text in corpus.texts])
    together = corpus.labels.astype(np.int64).T @ corpus.labels
    upper = [(int(together[i, j]), i, j) for i in range(len(together)) for j in range(i)]
    pairs = sorted(upper, key=lambda p: (-p[0], p[1], p[2]))[:8]
    facts = [
        ("texts learned from, templates included", f"{len(corpus):,}"),
        ("captions that name no class", f"{corpus.dropped:,}"),
        ("words of a text", f"{words.mean():.1f} on average, {words.min()} to {words.max()}"),
        ("classes of a text", f"{per_text.mean():.2f} on average"),
    ]
    rows = "".join(
        f'<tr><th scope="row">{html.text(k)}</th><td>{html.text(v)}</td></tr>' for k, v in facts
    )
    counts = np.bincount(per_text)
    sizes: list[tuple[str, float, Sequence[str]]] = [
        (str(n), float(c), []) for n, c in enumerate(counts) if c
    ]
    named: list[tuple[str, float, Sequence[str]]] = [
        (f"{class_names[i]} + {class_names[j]}", float(count), []) for count, i, j in pairs if count
    ]
    charts = bars(
        "Texts by the number of classes they name",
        ["classes", "texts"],
        sizes,
        most=float(counts.max()),
        digits=0,
    )
    if named:
        both = bars(
            "Classes named together most often",
            ["pair", "texts"],
            named,
            most=named[0][1],
            digits=0,
        )
        charts = f'<div class="columns"><div>{charts}</div><div>{both}</div></div>'
    return f'<div class="scroll"><table>{rows}</table></div>{charts}'


def _configuration(results: dict[str, Any]) -> str:
    flat = flat_config(results["config"])
    mine = f"TRAINER.{results['trainer'].upper()}."
    own = {k: v for k, v in flat.items() if not k.startswith("TRAINER.") or k.startswith(mine)}
    first = ("MODEL.BACKBONE.NAME", "OPTIM.", "DATALOADER.TRAIN_X.BATCH", "INPUT.SIZE", mine)
    shown = {k: v for k, v in own.items() if k.startswith(first)}
    backbone = results.get("backbone") or {}
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    facts = (
        f"Backbone {backbone.get('name', '')}, weights {str(backbone.get('sha256', ''))[:16]}…; "
    )
    return (
        f"<p>{html.text(facts)}{html.text(versions)}; toolbox {html.text(results['toolbox'])}.</p>"
        f"{_key_table(shown)}<details><summary>All options</summary>{_key_table(own)}</details>"
    )


def _key_table(values: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{html.text(k)}</code></th><td>{html.text(v)}</td></tr>'
        for k, v in values.items()
    )
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="options">'
        f"<table>{rows}</table></div>"
    )
