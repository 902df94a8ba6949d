"""Names that arguments and options take, as types: a shell completes them, and files."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from tai_dpt.io.shipped import SHIPPED, config_path


class Known(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """Text of which some values are known; the shell is told of them, and of files.

    Args:
        names: gives the values, when they are needed.
        files: whether a file's name may stand there too.
    """

    name = "text"

    def __init__(self, names: Callable[[], Iterable[str]] = tuple, *, files: bool = True) -> None:
        self.names, self.files = names, files

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so, with files beside them; where there are none the shell finds
        files by itself, which goes down folders."""
        names = [name for name in self.names() if name.startswith(incomplete)]
        if self.files and not names:
            return [CompletionItem(incomplete, type="file")]
        beside = glob.glob(f"{glob.escape(incomplete)}*") if self.files else []
        return [CompletionItem(name) for name in (*names, *sorted(beside))]


def _vocabularies() -> Iterable[str]:
    from tai_dpt.labels.class_lists import VOCABULARIES

    return VOCABULARIES


def _backbones() -> Iterable[str]:
    from tai_dpt.backbones.download import NAMES

    return (*NAMES, SHIPPED)


def _benchmarks() -> Iterable[str]:
    return sorted(path.stem for path in config_path("datasets").glob("*.yaml"))


def _trainers() -> Iterable[str]:
    return sorted(path.name for path in config_path("trainers").iterdir() if path.is_dir())


def _sources() -> Iterable[str]:
    from tai_dpt.datasets.inventory import CHECKS

    return CHECKS


FILE = Known()
CLASSES = Known(_vocabularies)
BACKBONE = Known(_backbones)
BENCHMARK = Known(_benchmarks, files=False)
SOURCE = Known(_sources, files=False)
TRAINER = Known(_trainers, files=False)
