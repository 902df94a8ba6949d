"""The examples in docstrings run, and the functions people call have one."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module

import numpy as np
import pytest
import torch

from tai_dpt.labels.wordnet import has_wordnet

from places import ROOT

# of these every public function shows how it is called; results and run_fusion work on runs' files
SCORING = sorted(path.stem for path in (ROOT / "tai_dpt/scoring").glob("*.py"))
LABELS = sorted(path.stem for path in (ROOT / "tai_dpt/labels").glob("*.py"))
SHOWN = [
    *(f"labels.{n}" for n in LABELS if n != "__init__"),
    *(f"scoring.{n}" for n in SCORING if n not in ("__init__", "results", "run_fusion")),
]
# what every reader has imported
LIBRARIES = {"np": np, "torch": torch}
# these need NLTK's data
OF_WORDNET = ("tai_dpt.labels.grow", "tai_dpt.labels.lexicon", "tai_dpt.labels.wordnet")

MODULES = sorted(
    ("" if folder == "tai_dpt" else "tai_dpt.")
    + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for folder in ("tai_dpt", "trainers", "datasets")
    for path in (ROOT / folder).rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    if name in OF_WORDNET and not has_wordnet():
        pytest.skip("NLTK's data are not installed")
    assert doctest.testmod(import_module(name), extraglobs=LIBRARIES).failed == 0


def test_the_noun_filter_and_the_class_list_have_an_example():
    from tai_dpt.labels.filter import NounFilter
    from tai_dpt.labels.vocabulary import Vocabulary

    assert ">>>" in (NounFilter.__doc__ or "")
    assert ">>>" in (Vocabulary.from_names.__doc__ or "")


@pytest.mark.parametrize("name", SHOWN)
def test_a_public_function_has_an_example(name):
    module = import_module(f"tai_dpt.{name}")
    functions = inspect.getmembers(module, inspect.isfunction)
    own = [(n, f) for n, f in functions if f.__module__ == module.__name__ and n[0] != "_"]
    assert [n for n, f in own if ">>>" not in (f.__doc__ or "")] == []
