"""Every benchmark runs at toy sizes, and the page keeps the parts that were not run."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from places import ROOT

EXPECTED = {
    "step": "of the limit",
    "job": "20 epochs",
    "encoding": "share reached",
    "losses": "scikit-learn",
    "memory": "peak, GB",
    "precision": "largest relative error",
    "evaluation": "both, 2 workers",
    "store": "safetensors",
    "images": "encoder alone",
    "startup": "from tai_dpt import Tagger",
    "methods": "1,000 images, s",
    "scale": "over the imports",
    "gpu": "GPU",
}


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", EXPECTED)
def test_quick_run(module, monkeypatch, tmp_path, name):
    monkeypatch.setattr(module("common"), "PAGE", tmp_path / "RESULTS.md")
    result = CliRunner().invoke(module(name).main, ["--quick"], catch_exceptions=False)
    assert result.exit_code == 0
    assert EXPECTED[name] in result.output
    assert not (tmp_path / "RESULTS.md").exists()


def test_a_part_replaces_its_last_version_only(module, monkeypatch, tmp_path):
    common = module("common")
    monkeypatch.setattr(common, "PAGE", tmp_path / "RESULTS.md")
    for part, text in (("b", "early"), ("a", "alone"), ("b", "late")):
        section = common.Section(part, f"Part {part}", keep=True)
        section.add(text)
        section.save()
    page = (tmp_path / "RESULTS.md").read_text()
    assert "early" not in page
    assert page.index("## (a) Part a") < page.index("alone") < page.index("late")
    assert "torch" in page


def test_the_plain_step_is_ours(module):
    common, step = module("common"), module("step")
    backbone = common.TINY.backbone()
    captions, labels = common.random_captions(6), common.random_labels(6, 20)
    learner = common.build_learner(backbone, 20)
    ours = step.OurTraining(learner, backbone.text.encode_packed(captions), labels)
    plain = step.plain_of(backbone, learner, common.TINY)
    assert ours.step() == pytest.approx(plain.step(captions, labels), rel=1e-5)


def test_the_gpus_part_works_on_any_device(module):
    rows = module("gpu").figures(torch.device("cpu"), quick=True)
    assert [row[0] for row in rows] == ["fp32", "TF32", "bf16", "fp16"]
    assert all(value > 0 for row in rows for value in row[1:])


def call(*words):
    return subprocess.run(
        ["bash", str(ROOT / "benchmarks/run.sh"), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )


def test_an_unknown_part_is_refused():
    ended = call("x")
    assert ended.returncode == 2
    assert (
        "valid: step, job, encoding, nouns, losses, memory, precision, evaluation, store, images, "
        "methods, startup, scale, gpu (a … n)" in ended.stderr
    )


def test_a_part_has_a_name_and_a_letter():
    ended = call("--quick", "i")
    assert ended.returncode == 0, ended.stderr
    assert "bare array" in ended.stdout
    assert "captions" in ended.stdout
