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


def test_the_notebooks_run(tmp_path):
    """One after the other in one kernel, emptied between them: it takes long to start."""
    books = {}
    together = nbformat.v4.new_notebook()
    for name in NOTEBOOKS:
        book = nbformat.read(ROOT / f"docs/notebooks/{name}.ipynb", as_version=4)
        assert not any(cell.get("outputs") for cell in book.cells)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        for old, new in (("EPOCHS = 11", "EPOCHS = 1"), LESS):
            assert sum(old in cell.source for cell in code) == 1
            for cell in code:
                cell.source = cell.source.replace(old, new)
        books[name] = code
        (tmp_path / name).mkdir()
        emptied = nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path / name}")
        together.cells += [emptied, *code]
    folder = {"metadata": {"path": tmp_path}}  # nothing of the checkout is in sight
    nbclient.NotebookClient(together, timeout=300, resources=folder).execute()
    for name, code in books.items():
        outputs = [output for cell in code for output in cell.outputs]
        printed = "".join(output.get("text", "") for output in outputs)
        for said in NOTEBOOKS[name]:
            assert said in printed
        if name == "quick_start":
            assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
