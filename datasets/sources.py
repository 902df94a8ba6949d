"""Where each data set comes from: ``sources.yaml``, or a file like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from tai_dpt.datasets.inventory import Part
from tai_dpt.io.reading import Count, Record, Sha256, checked, read_yaml
from tai_dpt.io.unpack import stays_inside

_FILE = Path(__file__).with_name("sources.yaml")


def _file_name(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _ends_in_a_name(url: str) -> str:
    name = _file_name(url)
    if not name or not stays_inside(name) or len(Path(name).parts) != 1:
        raise ValueError(f"the address '{url}' does not end in a file's name")
    return url


def _goes_down(folder: str) -> str:
    if not stays_inside(folder):
        raise ValueError(f"'{folder}' is no folder below the data folder")
    return folder


class SourceFile(Record):
    """A file that a publisher hosts; what the fields mean is said in ``sources.yaml``."""

    url: Annotated[str, Field(pattern="^https?://"), AfterValidator(_ends_in_a_name)]
    bytes: Count | None = None
    about: Count = 0
    sha256: Sha256 | None = None
    unpacked: Count
    into: Annotated[str, AfterValidator(_goes_down)]
    gives: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's own name."""
        return _file_name(self.url)

    @property
    def size(self) -> int:
        """In bytes, as far as it is known."""
        return self.about if self.bytes is None else self.bytes

    def parts(self, found: Sequence[Part]) -> list[Part]:
        """The parts of its data set that it brings."""
        return [part for part in found if part.what.startswith(self.gives)]


class Origin(Record):
    """What is known of a data set's publisher."""

    advice: str
    files: tuple[SourceFile, ...] = ()

    def told(self, root: Path) -> str:
        """The advice, for this data folder."""
        return self.advice.replace("{root}", str(root))

    def to_do(self, name: str, root: Path) -> str:
        """How to have it below ``root``; ``name`` is the data set's."""
        itself = f" ('tai-dpt get-data {name} --root {root}' does so)" if self.files else ""
        return self.told(root) + itself


def read_sources(path: Path | None = None) -> Mapping[str, Origin]:
    """The origins of data sets by name; those of ``path`` count before those that ship.

    Raises:
        InputError: there is no such file, or it says something else.
    """
    shipped = checked(dict[str, Origin], read_yaml(_FILE), where=str(_FILE))
    if path is None:
        return shipped
    return shipped | checked(dict[str, Origin], read_yaml(path), where=str(path))
