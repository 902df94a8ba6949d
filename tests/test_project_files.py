"""What describes the project beside the code agrees with the code and with itself."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement

import tai_dpt

from places import ROOT

CORE = [Requirement(r) for r in metadata.requires("tai-dpt") or [] if "extra ==" not in r]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())


@pytest.mark.parametrize("requirement", CORE, ids=lambda r: r.name)
def test_a_dependency_has_a_lower_bound(requirement):
    assert ">=" in {one.operator for one in requirement.specifier}


def test_the_workflow_runs_the_oldest_and_newest_python_that_is_named():
    runs = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["include"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata.metadata("tai-dpt").values()))
    in_order = sorted(named, key=lambda version: int(version.split(".")[1]))
    assert runs[0] == {"python": in_order[0], "stack": "oldest"}
    assert runs[-1] == {"python": in_order[-1], "stack": "newest"}
    assert metadata.metadata("tai-dpt")["Requires-Python"] == f">={in_order[0]}"


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert citation["version"] == tai_dpt.__version__
    assert f"## [{tai_dpt.__version__}] - {citation['date-released']}" in changes


@pytest.mark.parametrize("form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")))
def test_an_issue_form_is_one(form):
    content = yaml.safe_load(form.read_text())
    if form.name == "config.yml":
        assert content == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= content.keys()
    assert all({"type", "attributes"} <= part.keys() for part in content["body"])


def test_every_emoji_licence_that_is_named_is_here():
    texts = {path.stem for path in (ROOT / "LICENSES").iterdir()}
    assert texts == {"Apache-2.0", "OFL-1.1", "MIT-fluent-emoji", "CC-BY-4.0"}
    licence = metadata.metadata("tai-dpt")["License-Expression"]
    assert licence == "MIT AND Apache-2.0 AND OFL-1.1 AND CC-BY-4.0"
