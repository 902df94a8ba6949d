"""A finished run as one HTML page; ``templates/run.html`` is how it looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.history import read_history
from tai_dpt.reports.page import render
from tai_dpt.reports.page_charts import Bars, LineChart, bars, line_chart
from tai_dpt.reports.page_images import page_images
from tai_dpt.reports.reopened_run import ReopenedRun, reopen_run
from tai_dpt.scoring.cooccurrence import co_occurrence
from tai_dpt.scoring.results import ScoreTable, flat_config, page_results

_MOST_PAIRS = 15

Say = Callable[[str], None]


def write_page(
    run: Path,
    target: Path,
    *,
    root: Path | None = None,
    per_class: int = 2,
    say: Say = lambda line: None,
) -> None:
    """Write :func:`report_page` of ``run`` to ``target`` and say so."""
    content = report_page(run, root=root, per_class=per_class, say=say)
    with atomic_write(target, "w", encoding="utf-8") as stream:
        stream.write(content)
    say(f"wrote {target}, {target.stat().st_size / 1e6:.1f} MB")


def report_page(
    run: Path, *, root: Path | None = None, per_class: int = 2, say: Say = lambda line: None
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
    prediction = results["prediction"]
    scores = table.of(prediction)
    threshold = results["metrics"][prediction]["threshold"]
    return render(
        "run.html",
        title=run_title(results),
        tiles=_tiles(results, table),
        note=_note(results, table),
        missing=missing,
        sections={
            "Curves": _curves(run),
            "Classes": _classes(results, table, scores, again),
            "Confused": _confused(table, scores),
            "Images": page_images(table, scores, threshold, again, per_class, say),
            "Corpus": _corpus(table, again),
            "Configuration": _configuration(results),
        },
    )


def run_title(results: dict[str, Any]) -> str:
    """What was run, on what, with which seed, as far as the results say."""
    parts = [results["trainer"]]
    if fused := _fused(results):
        parts.append(
            "of " + " + ".join(str(run.get("trainer") or run["scores"]) for run in fused.values())
        )
    if results.get("dataset"):
        parts.append(f"on {_dataset_name(results)}")
    title = " ".join(parts)
    return title if results.get("seed") is None else f"{title}, seed {results['seed']}"


def _fused(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a fusion's results say of each of its runs, by its role; empty where it is none."""
    fusion = results.get("fusion") or {}
    if "text" in fusion:
        return {role: fusion[role] for role in ("text", "image")}
    return {f"run {number}": run for number, run in enumerate(fusion.get("runs", ()), 1)}


def _dataset_name(results: dict[str, Any]) -> str:
    """A data set in COCO's format is known by its folder."""
    coco = flat_config(results["config"]).get("DATASET.COCO.TEST")
    if results["dataset"] == "CocoFormat" and isinstance(coco, list | tuple) and coco:
        return str(coco[0]).split("/")[0]
    return str(results["dataset"])


def _tiles(results: dict[str, Any], table: ScoreTable) -> list[dict[str, str]]:
    """The figures at the top; nothing is evaluated where nothing is labelled."""
    metrics = results["metrics"]
    tiles = [
        (f"mAP, {name}", f"{values['mAP']:.1f}")
        for name, values in metrics.items()
        if values["mAP"] is not None
    ]
    chosen = metrics[results["prediction"]]
    if tiles and chosen["threshold"] is not None:
        f1 = {kind: chosen["f1"][kind] for kind in ("of1", "cf1")}
        tiles += [(k.upper(), "–" if value is None else f"{value:.1f}") for k, value in f1.items()]
    tiles.append((f"{results.get('split') or ''} images".strip(), f"{len(table.ids):,}"))
    tiles.append(("classes", f"{len(table.class_names):,}"))
    return [{"name": name, "value": value} for name, value in tiles]


def _note(results: dict[str, Any], table: ScoreTable) -> str:
    chosen = results["metrics"][results["prediction"]]
    note = f"The prediction is the {results['prediction']} score."
    if chosen["mAP"] is None:
        why = "no image is labelled" if not table.labels.any() else "no class is in any image"
        note += f" There is no mAP: {why}."
    else:
        note += " mAP in percent."
    if chosen["threshold"] is not None:
        what = "Decisions" if chosen["mAP"] is None else "F1"
        note += f" {what} at the threshold from {results['threshold_source']}."
    fusion = results.get("fusion") or {}
    if "weight" not in fusion and fusion:
        weights = ", ".join(f"{weight:.3g}" for weight in fusion["weights"])
        note += f" A fusion with weights {weights}, after {fusion['normalise']} normalisation."
    elif fusion:
        note += (
            f" A fusion, (1 - λ) text + λ image with λ = {fusion['weight']:g} (from the "
            f"{fusion['weight_source']}), after {fusion['normalise']} normalisation."
        )
    return note


# -- the history -------------------------------------------------------------------------------

_MOST_POINTS = 400  # of a curve; a longer one is thinned out


def _curves(run: Path) -> dict[str, LineChart]:
    """Losses, learning rate and validation mAP over the steps; version 0.1 wrote no history."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in read_history(run):
        for name, value in line.items():
            shown = name.startswith("loss") or name in ("lr", "mAP")
            if shown and isinstance(value, int | float):
                curves.setdefault(name, []).append((float(line["step"]), float(value)))
    charts = {
        "Loss": {n.replace("_", " "): v for n, v in curves.items() if n.startswith("loss")},
        "Learning rate": {"learning rate": curves.get("lr", [])},
        "mAP of the epochs": {"mAP": curves.get("mAP", [])},
    }
    drawn = {}
    for title, series in charts.items():
        thin = {name: _thinned(points) for name, points in series.items() if points}
        if thin:
            drawn[title] = line_chart(title, thin, x_label="step")
    return drawn


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of neighbouring points, the first and the last one as they are."""
    size = -(-len(points) // _MOST_POINTS)
    if size < 2:
        return points
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    means = [(float(np.mean([x for x, _ in p])), float(np.mean([y for _, y in p]))) for p in parts]
    return [points[0], *means, points[-1]]


# -- the scores --------------------------------------------------------------------------------


def _classes(
    results: dict[str, Any], table: ScoreTable, scores: NDArray[np.floating], again: ReopenedRun
) -> list[Bars]:
    """Average precision of every class; without labels, how many images it is said to be in."""
    chosen = results["metrics"][results["prediction"]]
    if chosen["mAP"] is None:
        return _decided(table, scores, chosen["threshold"])
    ap = np.array([np.nan if v is None else v for v in chosen["per_class_ap"]])
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
    return [
        bars(f"Average precision, {name}", headers, part, most=100)
        for name, part in zip(names, parts, strict=True)
    ]


def _decided(
    table: ScoreTable, scores: NDArray[np.floating], threshold: float | None
) -> list[Bars]:
    if threshold is None:
        return []
    counts = (scores >= threshold).sum(0)
    rows: list[tuple[str, float, list[str]]] = [
        (table.class_names[i], float(counts[i]), []) for i in np.argsort(-counts, kind="stable")
    ]
    caption = "Images that a class is said to be in"
    return [bars(caption, ["class", "images"], rows, most=float(counts.max()), digits=0)]


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


def _confused(table: ScoreTable, scores: NDArray[np.floating]) -> Bars | None:
    rows = [
        (
            f"{table.class_names[j]} above {table.class_names[i]}",
            100 * share,
            [f"{count:,}"],
        )
        for share, count, i, j in confused_pairs(table, scores)[:_MOST_PAIRS]
    ]
    if not rows:
        return None
    caption = (
        "Of the images that have the second class and not the first: in how many the first "
        "scores higher all the same"
    )
    return bars(caption, ["pair", "%", "images"], rows, most=100)


# -- the corpus and the configuration ----------------------------------------------------------


def _corpus(table: ScoreTable, again: ReopenedRun) -> dict[str, Any]:
    corpus = again.corpus
    if corpus is None:
        return {}
    per_text = corpus.per_caption_counts
    words = np.array([len(text.split()) for text in corpus.texts])
    facts = {
        "texts, templates included": f"{len(corpus):,}",
        "captions that name no class": f"{corpus.naming_none:,}",
        "words of a text": f"{words.mean():.1f} on average, {words.min()} to {words.max()}",
        "classes of a text": f"{per_text.mean():.2f} on average",
    }
    counts = np.bincount(per_text)
    sizes: list[tuple[str, float, list[str]]] = [
        (str(n), float(c), []) for n, c in enumerate(counts) if c
    ]
    charts = [
        bars(
            "Texts by the number of classes they name",
            ["classes", "texts"],
            sizes,
            most=float(counts.max()),
            digits=0,
        )
    ]
    together = co_occurrence(corpus.labels)
    upper = [(int(together[i, j]), i, j) for i in range(len(together)) for j in range(i)]
    names = table.class_names
    named: list[tuple[str, float, list[str]]] = [
        (f"{names[i]} + {names[j]}", float(count), [])
        for count, i, j in sorted(upper, key=lambda p: (-p[0], p[1], p[2]))[:8]
        if count
    ]
    if named:
        caption = "Classes named together most often"
        charts.append(bars(caption, ["pair", "texts"], named, most=named[0][1], digits=0))
    return {"facts": facts, "charts": charts}


def _configuration(results: dict[str, Any]) -> dict[str, Any]:
    """What a fusion of files without results lacks is left out."""
    flat = flat_config(results["config"])
    mine = f"TRAINER.{results['trainer'].upper()}."
    own = {k: v for k, v in flat.items() if not k.startswith("TRAINER.") or k.startswith(mine)}
    first = ["MODEL.BACKBONE.NAME", "OPTIM.", "DATALOADER.TRAIN_X.BATCH", "INPUT.SIZE", mine]
    facts = []
    if backbone := results.get("backbone"):
        facts.append(f"backbone {backbone['name']}, weights {str(backbone['sha256'])[:16]}…")
    if prepared := results.get("preprocessing"):
        facts.append("images: " + ", ".join(f"{k} {v}" for k, v in prepared.items()))
    if versions := results.get("versions"):
        facts.append(", ".join(f"{k} {v}" for k, v in versions.items()))
    if toolbox := results.get("toolbox"):
        facts.append(f"toolbox {toolbox}")
    told = [("trained with", results.get("trained_with") or {})]
    told += [(f"earlier ({i})", o) for i, o in enumerate(results.get("earlier_options") or (), 1)]
    for role, run in (*told, *_fused(results).items()):
        own |= {f"{role}: {key}": value for key, value in run.items()}
        first.append(f"{role}: ")
    return {
        "origin": "; ".join(facts),
        "first": {k: v for k, v in own.items() if k.startswith(tuple(first))},
        "all": own,
    }
