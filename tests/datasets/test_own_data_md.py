"""The class lists and caption files that docs/own-data.md shows are read as it says."""

from __future__ import annotations

import gzip
import re

import pytest

from tai_dpt.datasets.corpora import FORMATS, read_captions, readers
from tai_dpt.labels.vocabulary import Vocabulary

from places import ROOT

TEXT = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
CLASSES, CAPTIONS = (
    re.findall(r"^\| `([^`]+)`[^|]* \| `([^`]+)` \|$", part, re.MULTILINE)
    for part in TEXT.split("\n## Captions\n")
)


def write(path, content):
    data = content.replace("⏎", "\n").replace("⇥", "\t").encode()
    if path.suffix == ".zst":
        data = pytest.importorskip("zstandard").compress(data)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(("name", "content"), CLASSES)
@pytest.mark.filterwarnings("ignore:.*read without|.*head of a column")
def test_a_class_list(tmp_path, name, content):
    assert Vocabulary.from_file(write(tmp_path / name, content)).names == ("dog", "cat")


@pytest.mark.parametrize(("name", "content"), CAPTIONS)
def test_a_caption_file(tmp_path, name, content):
    assert read_captions(write(tmp_path / name, content)) == ["a dog", "a cat"]


def test_every_format_is_shown(tmp_path):
    shown = {
        readers._entries(readers._Source(write(tmp_path / name, content)), "auto", "caption")[0]
        for name, content in CAPTIONS
    }
    assert shown == {*FORMATS} - {"localized_narratives", "parquet"}  # JSON lines too; no text
    assert len(CLASSES) >= 15
