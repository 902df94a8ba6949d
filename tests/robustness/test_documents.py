"""Every file that is read, with one thing wrong in it: done, or one line that says what."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import BROKEN_JSON, MISSING, WRONG, changed, paths_in, written
from forked import command, main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from places import ROOT, TESTS

TAGGER = TESTS / "reference/v0.1/tagger"
RUN = TESTS / "reference/v0.1/run"
WEIGHTS = ROOT / "data/emoji_scenes/clip.safetensors"
FEW = ("missing", "null", "NaN", "a text")


def documents(source: Path, *, depth: int, every: bool = True) -> Iterator[Any]:
    """Test parameters: a name, and the document's bytes; without ``every`` only the few worst."""
    for name, text in BROKEN_JSON.items():
        yield pytest.param(written(text), id=name)
    document = json.loads(source.read_text())
    if source.name == "results.json":
        document["images"] = 40  # as the scores beside it
    for path in paths_in(document, depth):
        for name, value in WRONG.items():
            if name in FEW or (len(path) == 1 and every):
                place = ".".join(map(str, path))
                yield pytest.param(written(changed(document, path, value)), id=f"{place}: {name}")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "tagger"
    shutil.copytree(TAGGER, folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "run"
    shutil.copytree(RUN, folder)
    return folder


@pytest.mark.parametrize("content", list(documents(TAGGER / "tagger.json", depth=2)))
def test_tagger(content: bytes, tagger: Path, tmp_path: Path, note) -> None:
    (tagger / "tagger.json").write_bytes(content)
    # its backbone is looked for last: what is wrong in the folder is known by then
    ended = command(["tag", tagger, "none.jpg", "--backbone", tmp_path / "gone.pt"], tmp_path)
    note(ended)
    assert not ended.fault and ended.code == 2


def of_readers() -> Iterator[Any]:
    """Each reader with each document; the page, which draws where it can, with the few worst."""
    for case in documents(RUN / "results.json", depth=1, every=False):
        for reader in ("report", "page", "fuse"):
            if reader != "page" or case.id.endswith(": missing"):
                yield pytest.param(reader, *case.values, id=f"{reader}-{case.id}")


@pytest.mark.parametrize(("reader", "content"), list(of_readers()))
def test_results(reader: str, content: bytes, run: Path, tmp_path: Path, note) -> None:
    (run / "results.json").write_bytes(content)
    arguments = {
        "report": ["report", run, "--runs"],
        "page": ["page", run, "--per-class", 0, "--out", tmp_path / "page.html"],
        "fuse": ["fuse", run, RUN],
    }
    ended = command(arguments[reader], tmp_path)
    note(ended)
    assert not ended.fault and ended.code in (0, 2)


FUSED_RUN = {"scores": "scores.npz", "trainer": "TaIDPT", "rectify": "none", "added": ""}
ENSEMBLE = {"weight": 0.9, "weight_source": "option", "text": FUSED_RUN, "image": FUSED_RUN}
ALSO_SAID = {
    "fusion": {**ENSEMBLE, "normalise": "minmax", "weights": [0.1, 0.9], "runs": [FUSED_RUN] * 2},
    "backbone": {"name": "clip", "sha256": "0" * 64},
    "preprocessing": {"size": [64, 64]},
}


@pytest.mark.parametrize("path", list(paths_in(ALSO_SAID)), ids=".".join)
@pytest.mark.parametrize("reader", ["report", "page"])
def test_what_else_results_say(
    reader: str, path: tuple[str, ...], run: Path, tmp_path: Path, capsys
) -> None:
    results = {**json.loads((RUN / "results.json").read_text()), "images": 40, **ALSO_SAID}
    more = {"report": ["--runs"], "page": ["--per-class", 0, "--out", tmp_path / "page.html"]}
    for value in WRONG.values():
        (run / "results.json").write_bytes(written(changed(results, path, value)))
        assert main([reader, run, *more[reader]]) in (0, 2)
        (tmp_path / "page.html").unlink(missing_ok=True)


OPTIONS = {"LABEL": "", "CLASSES": "", "NUM_SHOTS": 1, "PARTIAL": {"PROPORTION": 0.5}}


@pytest.mark.parametrize("path", list(paths_in(OPTIONS)), ids=".".join)
def test_what_a_report_reads_of_a_config(path: tuple[str, ...], run: Path, capsys) -> None:
    results = {**json.loads((RUN / "results.json").read_text()), "trainer": "DualCoOp"}
    results["config"]["DATASET"] |= {**OPTIONS, "CORPUS": {"MAX_CAPTIONS": 1}}
    for value in (*WRONG.values(), 10**400):
        content = changed(results, ("config", "DATASET", *path), value)
        (run / "results.json").write_bytes(written(content))
        assert main(["report", run]) in (0, 2)


CAPTIONS = {"annotations": [{"image_id": 1, "caption": "a dog in a car"}]}
CLASSES = [{"name": "dog", "synonyms": ["hound"]}, {"name": "car"}]


def in_class_list() -> Iterator[Any]:
    for name, value in WRONG.items():
        for path in ((0,), (0, "name"), (0, "synonyms"), (1, "stop")):
            document: Any = {"classes": [dict(entry) for entry in CLASSES]}
            if path[-1] == "stop" and value is MISSING:
                continue
            yield pytest.param(
                written(changed(document, ("classes", *path), value)), id=f"{path}: {name}"
            )
    for name, text in BROKEN_JSON.items():
        yield pytest.param(written(text), id=name)


@pytest.mark.parametrize("content", list(in_class_list()))
def test_class_list(content: bytes, tmp_path: Path, note) -> None:
    (tmp_path / "classes.yaml").write_bytes(content)  # JSON is YAML
    (tmp_path / "captions.txt").write_text("a dog in a car\n")
    arguments = ["label", tmp_path / "captions.txt", "--no-grow", "--vocabulary"]
    ended = command([*arguments, tmp_path / "classes.yaml"], tmp_path)
    note(ended)
    assert not ended.fault and ended.code in (0, 2)


def in_captions() -> Iterator[Any]:
    for name, value in WRONG.items():
        for path in (("annotations",), ("annotations", 0), ("annotations", 0, "caption")):
            yield pytest.param(written(changed(CAPTIONS, path, value)), id=f"{path}: {name}")
    for name, text in BROKEN_JSON.items():
        yield pytest.param(written(text), id=name)


@pytest.mark.parametrize("content", list(in_captions()))
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_captions(ending: str, content: bytes, tmp_path: Path, note) -> None:
    (tmp_path / f"captions.{ending}").write_bytes(content)
    (tmp_path / "classes.txt").write_text("dog\ncar\n")
    arguments = ["label", tmp_path / f"captions.{ending}", "--no-grow", "--vocabulary"]
    ended = command([*arguments, tmp_path / "classes.txt"], tmp_path)
    note(ended)
    assert not ended.fault and ended.code in (0, 2)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(document=ANYTHING)
def test_any_class_list_at_all(tmp_path: Path, document: object, note) -> None:
    (tmp_path / "captions.txt").write_text("a dog in a car\n")
    (tmp_path / "classes.yaml").write_bytes(json.dumps(document).encode())
    arguments = ["label", tmp_path / "captions.txt", "--no-grow", "--vocabulary"]
    ended = command([*arguments, tmp_path / "classes.yaml"], tmp_path)
    note(ended)
    assert not ended.fault and ended.code in (0, 2)
