"""``tai-dpt fuse`` on score files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from tai_dpt.cli.main import cli
from tai_dpt.errors import InputError
from tai_dpt.scoring.results import ScoreTable, save_results

from reference import load_golden


@pytest.fixture
def runs(tmp_path):
    golden = load_golden("metrics")
    labels = golden.labels.numpy()
    for name in ("text", "image"):
        scores = getattr(golden, f"scores_{name}").numpy()
        ScoreTable(
            ids=tuple(map(str, range(len(labels)))),
            class_names=tuple("abcdefg"),
            labels=np.where(labels > 0, 1, -1).astype(np.int8),
            global_=scores,
            local=scores if name == "image" else -scores,
            merged=scores if name == "text" else -scores,
        ).save(tmp_path / name / "scores.npz")
    none = np.zeros((0, 7), np.float32)
    empty = ScoreTable((), tuple("abcdefg"), none.astype(np.int8), none, none, none)
    empty.save(tmp_path / "empty/scores.npz")
    results = {"prediction": "local", "dataset": "Toy", "seed": 3, "config": {"SEED": 3}}
    save_results(tmp_path / "image/results.json", results)
    return tmp_path


def call(*arguments: object):
    return CliRunner().invoke(cli, ["fuse", *map(str, arguments)])


def test_the_table_says_what_the_public_code_says(runs):
    golden = load_golden("metrics")
    expected = dict(zip(golden.fused_weights.tolist(), golden.fused_map.tolist(), strict=True))
    for weight in (0.0, 0.1, 0.5, 0.9, 1.0):
        result = call(runs / "text/scores.npz", runs / "image/scores.npz", "--weight", weight)
        assert result.exit_code == 0, result.output
        row = next(line.split() for line in result.output.splitlines() if "fused" in line)
        assert float(row[2]) == pytest.approx(expected[weight], abs=0.006)
    row = next(line.split() for line in result.output.splitlines() if line.startswith("image"))
    assert row[1:3] == ["local", f"{float(golden.map_image):.2f}"]


def test_what_it_writes(runs):
    result = call(
        runs / "text", runs / "image", "--out", runs / "out", "--curve", runs / "curve.png"
    )
    assert result.exit_code == 0, result.output
    results = json.loads((runs / "out/results.json").read_text())
    assert results["seed"] == 3 and results["trainer"] == "Fusion"  # of what is no DualCoOp
    assert results["fusion"]["weight"] == 0.9
    assert results["mAP"] == pytest.approx(51.87392615, rel=1e-5)
    assert ScoreTable.load(runs / "out/scores.npz").merged.shape == (200, 7)
    assert (runs / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input(runs):
    for arguments, message in (
        ((runs / "text", runs / "none/scores.npz"), "no such file"),
        ((runs / "text", runs / "empty"), "it holds no images"),
        ((runs / "text", runs / "image", "--weight", 1.5), r"must lie in \[0, 1\]"),
    ):
        result = call(*arguments)
        assert isinstance(result.exception, InputError)
        with pytest.raises(InputError, match=message):
            raise result.exception
    assert call(runs / "text", runs / "image", "--normalise", "max").exit_code == 2


def test_no_model_is_touched(runs):
    code = (
        "import sys; from tai_dpt.cli.main import cli; "
        "cli(['fuse', sys.argv[1], sys.argv[2]], standalone_mode=False); "
        "print([m for m in ('torch', 'matplotlib', 'clip') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(runs / "text"), str(runs / "image")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("[]")
    assert "ms" in done.stdout
