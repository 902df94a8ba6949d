"""The documentation site is built without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tai_dpt.cli.main import COMMANDS

from places import ROOT

pytest.importorskip("mkdocstrings")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def pages(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages(part)]


def test_every_document_is_a_page(site):
    (line,) = re.findall(r"(?m)^nav:\n((?:  .*\n)+)", (ROOT / "mkdocs.yml").read_text())
    named = pages(yaml.safe_load(line))
    documents = [path.name for path in (ROOT / "docs").glob("*.md")]
    documents += [path.name for path in ROOT.glob("*.md") if path.name != "README.md"]
    assert {Path(page).name for page in named} >= set(documents)
    for page in named:
        html = "index.html" if page == "index.md" else f"{page[:-3]}.html"
        assert (site / html).is_file()


def test_nothing_is_loaded_from_elsewhere(site):
    loads = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(https?:[^\"> ]+)", re.I)
    sheets = re.compile(r"<link[^>]*rel=\"?(?:stylesheet|icon|preconnect)[^>]*https?:", re.I)
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert loads.findall(text) + sheets.findall(text) == [], path.name


def test_every_command_and_option_is_there(site):
    text = (site / "commands.html").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"tai-dpt {command}" in text or f">{command}<" in text
    for said in (
        "--threshold",
        "--overwrite",
        "-h, --help",
        "[default: output/demo]",
        "--model-dir",
    ):
        assert said in text


def test_the_reference_shows_the_docstrings(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("Tagger", "NounFilter", "ranking_loss", "average_precision", "TaIDPT"):
        assert f">{name}<" in text
    assert "Parameters" in text or "Args" in text
    assert "&gt;&gt;&gt;" in text and "<blockquote>" not in text  # examples are code
