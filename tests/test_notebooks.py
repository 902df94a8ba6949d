"""The notebooks run from top to bottom, on what is installed."""

from __future__ import annotations

import pytest

from places import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = {
    "quick_start": ["from the threshold on:", "whole caption"],
    "own_data": ["dog, tv", "calibrated on labelled images: 50 images", "300199.webp ["],
}
# a few steps in place of a minute
LESS = ("EPOCHS]", 'EPOCHS, "DATASET.CORPUS.MAX_CAPTIONS", 300]')


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path):
    book = nbformat.read(ROOT / f"docs/notebooks/{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    for old, new in (("EPOCHS = 11", "EPOCHS = 1"), LESS):
        assert sum(old in cell.source for cell in code) == 1
        for cell in code:
            cell.source = cell.source.replace(old, new)
    folder = {"metadata": {"path": tmp_path}}  # nothing of the checkout is in sight
    nbclient.NotebookClient(book, timeout=300, resources=folder).execute()
    outputs = [output for cell in code for output in cell.outputs]
    printed = "".join(output.get("text", "") for output in outputs)
    for said in NOTEBOOKS[name]:
        assert said in printed
    if name == "quick_start":
        assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
