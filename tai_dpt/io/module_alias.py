"""One module under two names: ``import trainers.tai_dpt``, as in a CoOp checkout, is
``import tai_dpt.trainers.tai_dpt``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class _Alias(MetaPathFinder, Loader):
    """Finds ``alias.x`` by importing ``package.x``."""

    def __init__(self, alias: str, package: str) -> None:
        self.alias, self.package = alias, package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{self.alias}."):
            return None
        real = self.package + fullname.removeprefix(self.alias)
        if importlib.util.find_spec(real) is None:
            return None
        return ModuleSpec(fullname, self, origin=real)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(str(spec.origin))
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own_spec  # the import system has put the alias's there


def alias_package(alias: str, package: str) -> None:
    """Make ``alias``, and every module below it, another name of ``package``'s modules."""
    sys.meta_path.insert(0, _Alias(alias, package))
    sys.modules[alias] = importlib.import_module(package)


def hide_checkout() -> None:
    """Take the checkout off the import path, once ``tai_dpt`` is imported.

    Python puts a script's folder, or with ``-m`` the working directory, in front; there
    ``datasets`` would hide the package of that name that Hugging Face's libraries import.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "datasets").is_dir():
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != checkout]
