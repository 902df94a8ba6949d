"""Imports point down the floors that docs/ARCHITECTURE.md draws, without a circle."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from places import ROOT

# top-level folder -> the package it is installed as
FOLDERS = {"trainers": "tai_dpt.trainers", "datasets": "tai_dpt.datasets", "tai_dpt": "tai_dpt"}
# stand in the hall and open onto higher floors: the front door's lazy ``Tagger``, ``python -m``
FRONT_DOORS = ("tai_dpt", "tai_dpt.__main__")


def drawn_floors() -> dict[str, int]:
    """Wing -> floor, as ``docs/ARCHITECTURE.md`` draws them."""
    page = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"```floors\n(.*?)```", page, flags=re.DOTALL)
    return {
        wing: int(line.split()[0]) for line in drawing.splitlines() for wing in line.split()[1:]
    }


FLOORS = drawn_floors()
HALL = 0
# package -> the only part of the project that imports it
DOORS = {"dassl": "tai_dpt.toolbox", "clip": "tai_dpt.backbones", "open_clip": "tai_dpt.backbones"}
DOORS |= {"transformers": "tai_dpt.backbones"}
# the wings that take tensors and plain values, and what they do without
THE_METHOD = ("io", "labels", "features", "backbones", "scoring", "prompts")
NOT_IN_THE_METHOD = ("yacs", "tai_dpt.toolbox")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[parts[0]], *parts[1:]]).removesuffix(".__init__")


FILES = {module_name(path): path for f in FOLDERS for path in sorted((ROOT / f).rglob("*.py"))}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def wing(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else ""


def floor(module: str) -> int:
    return FLOORS.get(wing(module), HALL)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, less what only a type checker reads."""
    for child in ast.iter_child_nodes(tree):
        if is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from nodes(other)
            continue
        yield child
        yield from nodes(child)


def imports(module: str) -> Iterator[tuple[str, int]]:
    """The modules ``module`` imports (as deep as they are files here), with line numbers."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield (deeper if deeper in FILES else base), node.lineno
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value), node.lineno


def places(module: str) -> Iterator[tuple[str, str]]:
    for imported, line in imports(module):
        yield imported, f"{FILES[module].relative_to(ROOT)}:{line} imports {imported}"


def test_every_wing_is_drawn() -> None:
    folders = {m.split(".")[1] for m, p in FILES.items() if p.name == "__init__.py" and "." in m}
    assert folders == set(FLOORS)


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module: str) -> None:
    for imported, place in places(module):
        top = imported.split(".")[0]
        assert top not in ("datasets", "trainers", "train"), f"{place}: say tai_dpt.{imported}"
        if top != "tai_dpt" or module in FRONT_DOORS or wing(imported) == wing(module):
            continue
        assert floor(imported) < floor(module), f"{place}, which does not stand below it"


@pytest.mark.parametrize("module", FILES)
def test_a_door_is_the_only_way(module: str) -> None:
    for imported, place in places(module):
        for package, door in DOORS.items():
            assert not within(imported, package) or within(module, door), f"{place}: not by {door}"


@pytest.mark.parametrize("module", [m for m in FILES if wing(m) in THE_METHOD])
def test_the_method_knows_no_config_and_no_toolbox(module: str) -> None:
    for imported, place in places(module):
        assert not any(within(imported, banned) for banned in NOT_IN_THE_METHOD), place


def test_no_file_imports_itself_in_a_circle() -> None:
    graph = {m: {i for i, _ in imports(m) if i in FILES and i != m} for m in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join([*trail[trail.index(module) :], module])
        if module in done:
            return
        for imported in sorted(graph[module]):
            visit(imported, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_what_the_code_imports_is_a_dependency() -> None:
    """Of any extra too, where it is imported only when it is asked for."""
    found = {
        name.split(".")[0]
        for module in FILES
        for name, _ in imports(module)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "tai_dpt", "dassl", "wilds"}
    }
    named = {canonicalize_name(Requirement(r).name) for r in metadata.requires("tai-dpt") or []}
    owned = {  # Python 3.10's packages_distributions asks for a file that few packages have
        place.parts[0].partition(".")[0]
        for distribution in metadata.distributions()
        if canonicalize_name(distribution.name) in named
        for place in distribution.files or ()
    }
    assert found - owned == set()


def test_the_rules_see_what_they_should() -> None:
    assert module_name(ROOT / "trainers" / "__init__.py") == "tai_dpt.trainers"
    assert module_name(ROOT / "tai_dpt" / "toolbox" / "stock.py") == "tai_dpt.toolbox.stock"
    assert "tai_dpt.errors" in {name for name, _ in imports("tai_dpt.toolbox.choice")}
    assert "dassl.engine" in {name for name, _ in imports("tai_dpt.toolbox.stock")}
    assert floor("tai_dpt.errors") < floor("tai_dpt.io.atomic") < floor("tai_dpt.datasets.base")
    assert floor("tai_dpt.trainers") < floor("tai_dpt.cli.main")
