"""What describes the project beside the code agrees with the code and with itself."""

from __future__ import annotations

import re
import shutil
import subprocess
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


CHANGES = (ROOT / "CHANGELOG.md").read_text()


def headings(changes: str) -> list[str]:
    """Of the changelog's versions, the newest first; "Unreleased" only with entries under it."""
    parts = re.findall(r"^## \[(.+)\](.*(?:\n(?!## ).*)*)", changes, re.M)
    return [f"[{name}]{rest.splitlines()[0]}" for name, rest in parts if "\n- " in rest]


def against_release(tag: str, version: str, changes: str) -> str | None:
    """What speaks against releasing the version under the tag."""
    if tag != f"v{version}":
        return f"the tag is {tag}, and the version {version}"
    newest = headings(changes)[0]
    return None if newest.startswith(f"[{version}] - ") else f"the newest changes are of {newest}"


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == tai_dpt.__version__
    newest = next(name for name in headings(CHANGES) if name != "[Unreleased]")
    assert newest == f"[{tai_dpt.__version__}] - {citation['date-released']}"


def test_a_tag_of_this_commit_is_the_version():
    """The last check before a release, see CONTRIBUTING.md; any other commit has no tag."""
    asked = ("git", "-C", str(ROOT), "tag", "--points-at", "HEAD")
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git checkout")
    answer = subprocess.run(asked, capture_output=True, text=True)
    if answer.returncode:
        pytest.skip(f"git does not say: {answer.stderr}")
    for tag in answer.stdout.split():
        if re.match(r"v?\d", tag):
            assert against_release(tag, tai_dpt.__version__, CHANGES) is None


@pytest.mark.parametrize(
    ("tag", "unreleased", "said"),
    [
        ("v1.2.0", "", None),
        ("v1.2.0", "## [Unreleased]\n\n", None),
        ("v1.2.0", "## [Unreleased]\n\n### Fixed\n\n- a\n\n", "changes are of [Unreleased]"),
        ("v1.2.0", "## [1.3.0] - 2026-02-01\n\n- b\n\n", "changes are of [1.3.0] - 2026-02-01"),
        ("v1.3.0", "", "the tag is v1.3.0, and the version 1.2.0"),
        ("1.2.0", "", "the tag is 1.2.0, and the version 1.2.0"),
    ],
)
def test_what_speaks_against_a_release(tag, unreleased, said):
    changes = f"# Changelog\n\n{unreleased}## [1.2.0] - 2026-01-01\n\n### Added\n\n- c\n"
    found = against_release(tag, "1.2.0", changes)
    assert found is None if said is None else said in str(found)


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
