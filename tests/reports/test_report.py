"""tai-dpt report: grouping over seeds, the paper's shape, and what is no finished run."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from tai_dpt.cli.report import report
from tai_dpt.errors import InputError
from tai_dpt.reports.published import paper
from tai_dpt.reports.render import cell_text
from tai_dpt.reports.runs import find_runs, group_runs
from tai_dpt.reports.statistics import Cell
from tai_dpt.scoring.results import whole_results

from fake_runs import write_run


def ask(*words: object) -> Result:
    return CliRunner().invoke(report, [str(word) for word in words])


def rows(result: Result) -> list[str]:
    assert result.exception is None, result.output
    return [" ".join(line.split()) for line in result.output.splitlines() if line.strip()]


def table1_runs(out: Path, dataset: str, seeds: tuple[int, ...] = (1, 2, 3)) -> None:
    zero_shot = {"trainer": "ZSCLIP", "dataset": dataset, "mean_ap": (76.0, 70.0, 77.0)}
    write_run(out / dataset / "ZSCLIP/rn50/default/seed1", **zero_shot)
    for seed in seeds:
        folder = out / dataset / f"TaIDPT/rn50/default/seed{seed}"
        write_run(folder, dataset=dataset, seed=seed, mean_ap=(85.0 + seed, 0.0, 86.0 + seed))


def partial_runs(out: Path, dataset: str, proportion: float, seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        write_run(
            out / dataset / f"DualCoOp/rn101/partial{proportion}/seed{seed}",
            trainer="DualCoOp",
            dataset=dataset,
            seed=seed,
            mean_ap=(0.0, 90.0 + 10 * proportion + seed, 0.0),
            DATASET__PARTIAL__PROPORTION=proportion,
            DATASET__PARTIAL__SEED=seed,
            MODEL__BACKBONE__NAME="RN101",
        )
        write_run(
            out / dataset / f"TaIDPTEnsemble/rn101/partial{proportion}/seed{seed}",
            trainer="TaIDPTEnsemble",
            dataset=dataset,
            seed=seed,
            mean_ap=(0.0, 0.0, 91.0 + seed),
            DATASET__PARTIAL__PROPORTION=proportion,
            TRAINER__TAIDPTENSEMBLE__TEXT_RUN=f"TaIDPT/rn50/default/seed{seed}",
            TRAINER__TAIDPTENSEMBLE__IMAGE_RUN=f"DualCoOp/rn101/partial{proportion}/seed{seed}",
        )


def test_table1_in_the_papers_shape(tmp_path: Path) -> None:
    table1_runs(tmp_path, "coco2014")
    table1_runs(tmp_path, "voc2007", seeds=(1, 2))
    lines = rows(ask(tmp_path, "--table", 1))
    assert lines[0] == "Table 1: mAP (%), mean ± standard deviation over seeds"
    assert lines[1] == "method voc2007 coco2014"
    assert lines[3:] == [
        "ZSCLIP 76.0 76.0",
        "ZSCLIP (paper) 76.2 47.3",
        "ZSCLIP + DPT 77.0 77.0",
        "ZSCLIP + DPT (paper) 77.3 49.7",
        "TaI 86.5 ± 0.7 (n=2) 87.0 ± 1.0",
        "TaI (paper) 86.0 61.1",
        "TaI-DPT 87.5 ± 0.7 (n=2) 88.0 ± 1.0",
        "TaI-DPT (paper) 88.3 65.1",
        "TaI-DPT (public code's logs) 88.4 ± 0.4 65.3 ± 0.1",
        "ZSCLIP, 80 templates (published) 79.7 53.0",
        "SPARC (published) 89.2 65.7",
        "TaI-DPT + SPARC (published) 90.3 68.2",
        "CoMC (published) 68.8",
        "- n: seeds so far, of 3",
    ]


@pytest.mark.parametrize("backbone", ["ViT-B/16", "weights/ViT-B-16.pt"])
def test_published_figures_are_those_of_the_same_backbone(tmp_path: Path, backbone: str) -> None:
    folder = tmp_path / "voc2007/TaIDPT/vit_b16/default/seed1"
    write_run(folder, MODEL__BACKBONE__NAME=backbone)
    lines = rows(ask(tmp_path, "--table", 1))
    assert lines[3:] == [
        "TaI 86.0",
        "TaI-DPT 88.0",
        "ZSCLIP, 80 templates (published) 79.9",
        "SPARC (published) 88.7",
        "TagCLIP (published) 92.8",
        "PIAA (published) 91.7",
    ]
    table1_runs(tmp_path, "coco2014")  # on RN50
    lines = rows(ask(tmp_path, "--table", 1))
    assert "TaI-DPT (paper) 65.1" in lines
    assert "SPARC [RN50] (published) 65.7" in lines
    assert "SPARC [ViT-B/16] (published) 88.7" in lines


def test_beyond_sets_methods_beside_backbones_and_rectifications(tmp_path: Path) -> None:
    table1_runs(tmp_path, "coco2014", seeds=(1, 2))
    home = tmp_path / "coco2014"
    for how, mean_ap in (("none", (60.0, 61.0, 62.0)), ("standardise", (63.0, 64.0, 65.0))):
        for seed in (1, 2):
            place = home / f"CoMC/rn50/{how}/seed{seed}"
            write_run(
                place,
                trainer="CoMC",
                dataset="coco2014",
                seed=seed,
                mean_ap=mean_ap,
                TEST__RECTIFY=how,
            )
    write_run(
        home / "TaIDPT/rn50/c/seed1",
        dataset="coco2014",
        mean_ap=(1.0, 2.0, 89.0),
        TRAINER__TAIDPT__CONCEPTS=True,
    )
    write_run(
        home / "PIAA/rn50/vit/seed1",
        trainer="PIAA",
        dataset="coco2014",
        mean_ap=(70.0, 71.0, 72.0),
        MODEL__BACKBONE__NAME="ViT-B/16",
    )
    lines = rows(ask(home, "--table", "beyond"))
    assert lines[1] == "method RN50 plain RN50 standardise ViT-B-16 plain"
    assert lines[3:10] == [
        "ZSCLIP 76.0",
        "ZSCLIP + DPT 77.0",
        "PIAA 72.0",
        "CoMC 62.0 ± 0.0 65.0 ± 0.0",
        "TaI 86.5 ± 0.7",
        "TaI-DPT 87.5 ± 0.7",
        "TaI-DPT + concepts 89.0 (n=1)",
    ]
    assert "SPARC (published) 65.7 67.4" in lines and "CoMC (published) 68.8" in lines
    assert any("says nothing" in line for line in lines)
    shown = ask(home).output  # table 1 stays the paper's
    assert "CONCEPTS" not in shown and shown.count("TaI-DPT + concepts") == 1


def test_nothing_is_published_for_a_backbone_of_ones_own(tmp_path: Path) -> None:
    for name in ("open_clip:ViT-B-16/laion2b_s34b_b88k", "RN50x4", "mine.pt"):
        write_run(tmp_path / name.replace("/", "-") / "seed1", MODEL__BACKBONE__NAME=name)
    printed = ask(tmp_path, "--table", 1).output
    assert "TaI-DPT [RN50x4]" in printed
    assert "(paper)" not in printed and "published" not in printed


def test_the_shipped_world_is_never_set_beside_the_paper(tmp_path: Path) -> None:
    table1_runs(tmp_path, "emoji_scenes")
    table1_runs(tmp_path, "voc2007")
    partial_runs(tmp_path, "emoji_scenes", 0.1, (1,))
    everything = ask(tmp_path).output.split("Table ")
    (together,) = [part for part in everything if part.startswith("1") and "voc2007" in part]
    assert "emoji_scenes" not in together
    for part in everything:
        if "emoji_scenes" in part:
            assert "paper" not in part and "SARB" not in part


def test_table2_has_empty_cells_and_an_average_where_all_is_there(tmp_path: Path) -> None:
    table1_runs(tmp_path, "voc2007")
    for tenth in range(1, 10):
        partial_runs(tmp_path, "voc2007", tenth / 10, (1, 2) if tenth == 9 else (1, 2, 3))
    table1_runs(tmp_path, "coco2014")
    partial_runs(tmp_path, "coco2014", 0.5, (1, 2, 3))
    lines = rows(ask(tmp_path / "voc2007", "--table", 2))
    assert lines[1] == "method 10% 20% 30% 40% 50% 60% 70% 80% 90% avg"
    found = {line.split(" 9")[0].split(" 8")[0]: line for line in lines}
    assert list(found)[3:9] == [
        "SARB (paper)",
        "TaI-DPT (no labels)",
        "DualCoOp",
        "DualCoOp (paper)",
        "DualCoOp* (paper)",
        "DualCoOp + TaI-DPT",
    ]
    assert found["DualCoOp"].startswith("DualCoOp 93.0 ± 1.0 94.0 ± 1.0")
    assert found["DualCoOp"].endswith("100.5 ± 0.7 (n=2) 96.5 ± 0.7 (n=2)")
    assert lines[-3].endswith("95.5 94.8")
    lines = rows(ask(tmp_path / "coco2014", "--table", 2))
    assert "DualCoOp 97.0 ± 1.0" in lines  # one cell, and no average


def test_table2_has_rows_with_concepts(tmp_path: Path) -> None:
    partial_runs(tmp_path, "emoji_scenes", 0.1, (1,))
    place = tmp_path / "emoji_scenes/{}/emoji_scenes/partial0.1_concepts/seed1"
    partial = {"dataset": "emoji_scenes", "DATASET__PARTIAL__PROPORTION": 0.1}
    options = {**partial, "TRAINER__DUALCOOP__CONCEPTS": True}
    mean_ap = (0.0, 95.0, 0.0)
    write_run(Path(str(place).format("DualCoOp")), trainer="DualCoOp", mean_ap=mean_ap, **options)
    path = write_run(
        Path(str(place).format("TaIDPTEnsemble")),
        trainer="TaIDPTEnsemble",
        mean_ap=(0.0, 0.0, 96.0),
        **partial,
        TRAINER__TAIDPTENSEMBLE__IMAGE_RUN="DualCoOp/emoji_scenes/partial0.1_concepts/seed1",
    )
    results = json.loads(path.read_text())
    fusion = {"normalise": "minmax", "weight": 0.9, "weight_source": "command line"}
    fusion |= {"text": {"scores": "a"}, "image": {"scores": "b", "added": "concepts"}}
    path.write_text(json.dumps({**results, "fusion": fusion}))
    lines = rows(ask(tmp_path, "--table", 2))
    assert lines[3:] == [
        "DualCoOp 92.0 92.0",
        "DualCoOp + concepts 95.0 95.0",
        "DualCoOp + TaI-DPT 92.0 92.0",
        "DualCoOp + TaI-DPT + concepts 96.0 96.0",
    ]


def test_runs_that_differ_in_more_than_the_seed_are_told_apart(tmp_path: Path) -> None:
    table1_runs(tmp_path, "voc2007")
    folder = tmp_path / "voc2007/TaIDPT/rn101/default/seed1"
    write_run(folder, mean_ap=(80.0, 80.0, 80.0), MODEL__BACKBONE__NAME="RN101")
    best = tmp_path / "voc2007/TaIDPT/rn50/best/seed1"
    write_run(best, mean_ap=(90.0, 90.0, 90.0), TEST__FINAL_MODEL="best_test")
    slow = tmp_path / "voc2007/TaIDPT/rn50/slow/seed1"
    write_run(slow, mean_ap=(70.0, 70.0, 70.0), OPTIM__LR=0.1, TRAIN__PRINT_FREQ=3)
    write_run(tmp_path / "voc2007/TaIDPT/rn50/val/seed1", split="val")
    lines = rows(ask(tmp_path))
    assert "TaI-DPT [RN50, OPTIM.LR 0.002] 88.0 ± 1.0" in lines
    assert "TaI-DPT [RN101, OPTIM.LR 0.002] 80.0 (n=1)" in lines
    assert "TaI-DPT [RN50, OPTIM.LR 0.1] 70.0 (n=1)" in lines
    assert "TaI-DPT [epoch selected on test data, RN50, OPTIM.LR 0.002] 90.0 (n=1)" in lines
    assert "voc2007 TaIDPT rn50/val on val 86.0 (n=1) 87.0 (n=1) 88.0 (n=1)" in lines


def test_a_sample_of_a_benchmark_is_not_the_benchmark(tmp_path: Path) -> None:
    write_run(tmp_path / "TaIDPT/rn50/default/seed1", images=50)
    result = ask(tmp_path, "--table", 1)
    assert "(paper)" not in result.output
    assert "voc2007: evaluated on 50 images, the benchmark has 4,952" in result.output


def test_broken_unfinished_and_missing_runs_are_told(tmp_path: Path) -> None:
    table1_runs(tmp_path, "voc2007", seeds=(1,))
    base = tmp_path / "voc2007/TaIDPT/rn50/default"
    whole = json.loads((base / "seed1/results.json").read_text())
    contents = {
        "seed2": '{"trainer": "TaIDPT", "spl',
        "seed3": json.dumps({**whole, "config": None}),
        "seed4": "[1, 2]",
        "seed5": json.dumps({**whole, "metrics": {"merged": {}}}),
    }
    for name, text in contents.items():
        (base / name).mkdir()
        (base / name / "results.json").write_text(text)
    (base / "seed6").mkdir()
    (base / "seed6/history.jsonl").write_text('{"epoch": 7, "epochs": 20, "step": 13}\n{"epo')
    (base / "seed7").mkdir()
    (base / "seed7/console.txt").write_text("Traceback\n")
    write_run(base / "seed8", seed=8, mean_ap=(None, None, None))
    result = ask(base.parents[2], tmp_path / "nothing-here", "--table", 1)
    assert result.exit_code == 0
    told = [line[2:] for line in result.output.splitlines() if line.startswith("- ")][1:]
    expected = [
        f"broken: {base}/seed2/results.json: not valid JSON",
        f"broken: {base}/seed3/results.json: 'config' should be an object, not null",
        f"broken: {base}/seed4/results.json: it should be an object, not [1, 2]",
        f"broken: {base}/seed5/results.json: it lacks 'metrics.merged.mAP'",
        f"unfinished: {base}/seed6 (no results.json; in epoch 7 of 20, log written 0 min ago)",
        f"unfinished: {base}/seed7 (it stopped before its first line; see console.txt)",
        f"no mAP: {base}/seed8 (no class has a positive image)",
        f"missing: nothing is called {tmp_path}/nothing-here",
    ]
    assert len(told) == len(expected)
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start)


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none", f"{tmp_path}/*/x"):
        with pytest.raises(InputError, match=r"no run \(results.json or log.txt\) in "):
            ask_strictly(place)
    table1_runs(tmp_path, "voc2007")
    with pytest.raises(InputError, match=r"belongs to table 2; it needs DualCoOp runs"):
        ask_strictly(tmp_path, "--table", 2)
    call = [sys.executable, "-m", "tai_dpt", "report", str(tmp_path / "none")]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("tai-dpt: error: no run (results.json or log.txt) in")


def ask_strictly(*words: object) -> None:
    report.main([str(word) for word in words], standalone_mode=False)


def test_only_unfinished_runs_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1/log.txt").write_text("epoch [7/20] batch [1/2]\n")  # as version 0.1 left it
    (tmp_path / "seed2").mkdir()
    (tmp_path / "seed2/history.jsonl").write_text("")
    result = ask(tmp_path)
    assert result.exit_code == 0
    assert "no run is finished yet" in result.output
    assert f"{tmp_path}/seed1 (no results.json; log written 0 min ago)" in result.output
    assert f"{tmp_path}/seed2 (no results.json; before epoch 1" in result.output


def test_evaluations_of_other_epochs_stand_apart(tmp_path: Path) -> None:
    for name, epoch, checkpoint in (
        *(("seed1", 10, "model.pth.tar-10"), ("early", 3, "model.pth.tar-3")),
        *(("best", 6, "model-best.pth.tar"), ("fresh", 0, None)),
    ):
        path = write_run(tmp_path / name, seed=len(name))
        results = json.loads(path.read_text()) | {"epoch": epoch, "checkpoint": checkpoint}
        path.write_text(json.dumps(results))
    write_run(tmp_path / "old", seed=9)
    groups, _ = group_runs(find_runs([str(tmp_path)])[0])
    found = {g.identity["evaluated"]: sorted(r.folder.name for r in g.runs) for g in groups}
    assert found == {
        "final": ["best", "old", "seed1"],
        "epoch 3": ["early"],
        "untrained": ["fresh"],
    }


def test_a_pattern_and_a_file_name_runs_once(tmp_path: Path) -> None:
    table1_runs(tmp_path, "voc2007")
    places = [f"{tmp_path}/*/TaIDPT/**/seed[12]", str(tmp_path / "voc2007")]
    runs, remarks = find_runs([*places, f"{tmp_path}/voc2007/ZSCLIP/rn50/default/*/results.json"])
    assert len(runs) == 4 and remarks == []
    assert [run.seed for run in find_runs(places[:1])[0]] == [1, 2]


def test_a_seed_counts_once_and_the_newer_run_counts(tmp_path: Path) -> None:
    older = write_run(tmp_path / "a/seed1", mean_ap=(1.0, 1.0, 1.0))
    newer = write_run(tmp_path / "b/seed1", mean_ap=(2.0, 2.0, 2.0))
    os.utime(older, (1, 1))
    groups, remarks = group_runs(find_runs([str(tmp_path)])[0])
    assert len(groups) == 1 and groups[0].values("merged") == {(1,): 2.0}
    assert remarks == [f"left out: {older.parent} (again in {newer.parent}, newer)"]


def test_other_known_labels_are_another_run_of_one_seed(tmp_path: Path) -> None:
    for mask in (1, 2):
        known = {"DATASET__PARTIAL__SEED": mask, "DATASET__PARTIAL__PROPORTION": 0.1}
        write_run(tmp_path / f"{mask}/seed1", trainer="DualCoOp", **known)
        write_run(tmp_path / f"all{mask}/seed1", DATASET__PARTIAL__SEED=mask)
    groups, remarks = group_runs(find_runs([str(tmp_path)])[0])
    assert [len(group.runs) for group in groups] == [2, 1]
    assert len(remarks) == 1  # with all labels known the seed of the known ones draws nothing


def test_the_data_set_is_named_by_label_or_by_folder(tmp_path: Path) -> None:
    write_run(tmp_path / "nuswide/TaIDPT/rn50_nuswide/default/seed1", label="")
    write_run(tmp_path / "somewhere/else/TaIDPT", label="")
    write_run(tmp_path / "nuswide/TaIDPT/rn50/default/seed2", label="mine", seed=2)
    names = {run.dataset for run in find_runs([str(tmp_path)])[0]}
    assert names == {"nuswide", "CocoFormat", "mine"}


def test_the_formats(tmp_path: Path) -> None:
    table1_runs(tmp_path, "emoji_scenes")
    partial_runs(tmp_path, "emoji_scenes", 0.1, (1, 2, 3))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/results.json").write_text("{")
    words = [tmp_path, "--table", 2, "--format"]
    markdown = ask(*words, "markdown").output
    assert "| DualCoOp            | 93.0 ± 1.0 | 93.0 ± 1.0 |" in markdown
    latex = ask(*words, "latex").output
    assert r"93.0 $\pm$ 1.0" in latex and r"10\%" in latex
    beside = [line for line in latex.splitlines() if line and not line.startswith((" ", "\\"))]
    assert all(line.startswith("%") for line in beside)
    answer = CliRunner().invoke(report, [*map(str, words), "csv", "--ci95"])
    assert "broken: " in answer.stderr
    table = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [line["method"] for line in table] == [
        "TaI-DPT (no labels)",
        "DualCoOp",
        "DualCoOp + TaI-DPT",
    ]
    assert (table[1]["dataset"], table[1]["10%"], table[1]["10% n"]) == ("emoji_scenes", "93", "3")
    assert float(table[1]["10% ci95"]) == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)


def test_names_are_no_formulae_and_no_html(tmp_path: Path) -> None:
    for label in ("=cmd|' /C calc'!A0", "<img src=x> [a](javascript:b)"):
        table1_runs(tmp_path / label[0], "voc2007", seeds=(1,))
        for path in (tmp_path / label[0]).rglob("results.json"):
            content = json.loads(path.read_text())
            content["config"]["DATASET"]["LABEL"] = label
            path.write_text(json.dumps(content))
    table = list(csv.reader(io.StringIO(ask(tmp_path, "--format", "csv").output)))
    cells = [cell for row in table for cell in row]
    assert "'=cmd|' /C calc'!A0" in cells
    assert not any(cell.startswith("=") for cell in cells)
    markdown = ask(tmp_path, "--format", "markdown").output
    assert r"&lt;img src=x&gt; [a]\(javascript:b)" in markdown
    assert "<img" not in markdown and "](" not in markdown


@pytest.mark.parametrize("number", ["6", "7"])
def test_the_figures(tmp_path: Path, number: str) -> None:
    table1_runs(tmp_path, "emoji_scenes")
    for seed in (1, 2, 3):
        for point in (1, 16):
            options = (
                {"trainer": "MLCoOp", "DATASET__NUM_SHOTS": point}
                if number == "6"
                else {"trainer": "TaIDPT", "DATASET__CORPUS__MAX_CAPTIONS": 100 * point}
            )
            folder = tmp_path / f"emoji_scenes/{options['trainer']}/tiny/p{point}/seed{seed}"
            score = 60.0 + point + seed
            write_run(folder, dataset="emoji_scenes", seed=seed, mean_ap=(score,) * 3, **options)
    out = tmp_path / "figure.png"
    lines = rows(ask(tmp_path, "--figure", number, "--out", out))
    if number == "6":
        assert lines[1] == "method 1 16"
        assert lines[-2:] == ["CoOp + DPT 63.0 ± 1.0 78.0 ± 1.0", f"picture: {out}"]
    else:
        assert lines[1] == "method 100 1,600 all"
        assert "ZSCLIP 76.0 76.0 76.0" in lines
        assert "TaI-DPT 63.0 ± 1.0 78.0 ± 1.0 88.0 ± 1.0" in lines
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="unknown picture type 'gif'; valid: png, pdf, svg"):
        ask_strictly(tmp_path, "--figure", number, "--out", tmp_path / "figure.gif")
    assert not (tmp_path / "figure.gif").exists()


def test_table3_is_for_a_data_set_that_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "seed1", dataset="coco2014_novel")
    lines = rows(ask(tmp_path, "--table", 3))
    assert "TaI-DPT 88.0" in lines and "TaI-DPT (paper) 59.2" in lines
    assert "ML-FSL (paper) 54.4 63.6" in lines
    assert any("no row here is claimed to equal" in line for line in lines)
    for place, choice, score in (("seed1", "all", 88.0), ("any/seed1", "any_positive", 91.0)):
        options = {"DATASET__EVAL_IMAGES": choice, "DATASET__CLASSES": "novel16"}
        mean_ap = (1.0, 2.0, score)
        write_run(tmp_path / place, dataset="coco2014_novel", mean_ap=mean_ap, **options)
    folder, few = tmp_path / "MLCoOp/rn50/shots2/seed1", {"DATASET__NUM_SHOTS": 2}
    write_run(folder, trainer="MLCoOp", dataset="coco2014_novel", **few)
    lines = rows(ask(tmp_path, "--table", 3))
    assert lines[1] == "method 0-shot 1-shot 2-shot 5-shot" and "CoOp 86.0" in lines
    assert "TaI-DPT [DATASET.EVAL_IMAGES all] 88.0" in lines
    assert "TaI-DPT [DATASET.EVAL_IMAGES any_positive] 91.0" in lines


def test_seen_and_unseen_classes(tmp_path: Path) -> None:
    """They are no runs of table 1, and published figures stand beneath the same images alone."""
    for subset, images, score in (("unseen17", 16799, 70.0), ("all65", 39217, 60.0)):
        for seed in (1, 2):
            write_run(
                tmp_path / f"coco2014/TaIDPT/rn50/{subset}/seed{seed}",
                dataset="coco2014",
                seed=seed,
                images=images,
                mean_ap=(50.0, 50.0, score + seed),
                DATASET__CLASSES=subset,
                MODEL__INIT_WEIGHTS=f"TaIDPT/rn50/seen/seed{seed}",
            )
    lines = rows(ask(tmp_path))
    assert lines[1] == "method unseen generalised" and not any("Table 1" in line for line in lines)
    assert "TaI-DPT 71.5 ± 0.7 61.5 ± 0.7" in lines
    assert "DualCoOp [RN50] (published) 78.2 70.2" in lines
    folder = tmp_path / "coco2014/ZSCLIP/rn50/unseen/seed1"
    sample = {"trainer": "ZSCLIP", "dataset": "coco2014", "images": 20}
    write_run(folder, **sample, DATASET__CLASSES="unseen17")
    assert "published" not in ask(tmp_path, "--table", "zero_shot").output


def test_wrong_combinations_of_options(tmp_path: Path) -> None:
    assert ask(tmp_path, "--table", 1, "--figure", 6).exit_code == 2
    assert "--out needs --figure" in ask(tmp_path, "--out", "x.png").output


def test_help_waits_for_no_torch() -> None:
    code = "import sys, tai_dpt.cli.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@given(st.lists(st.floats(0, 100), min_size=2, max_size=40))
def test_mean_and_spread(values: list[float]) -> None:
    cell = Cell(tuple(values))
    deviation = cell.spread()
    assert cell.mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    interval = cell.spread(ci95=True)
    assert interval is not None and deviation is not None
    assert interval >= 1.95 * deviation / math.sqrt(len(values))


def test_a_single_value_has_no_spread() -> None:
    assert Cell((1.0,)).spread() is None
    assert cell_text(Cell((65.14,))) == "65.1"
    assert cell_text(Cell((65.14,), expected=3)) == "65.1 (n=1)"
    assert cell_text(None) == ""
    assert Cell((1.0, 2.0, 3.0)).spread() == statistics.stdev([1, 2, 3])


def test_whole_results_takes_what_a_run_leaves(tmp_path: Path) -> None:
    assert whole_results(write_run(tmp_path))["trainer"] == "TaIDPT"


def test_the_papers_averages_are_those_of_its_rows() -> None:
    """A slip in copying the paper's table would show."""
    for name in ("voc2007", "coco2014", "nuswide"):
        for row in paper()["table2"][name].values():
            assert row[-1] == pytest.approx(np.mean(row[:-1]), abs=0.06)
