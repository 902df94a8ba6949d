"""Packaging: the top-level folders become one import package, ``tai_dpt``.

A top-level installed package called ``datasets`` would overwrite Hugging Face's, so
``datasets/`` is installed as ``tai_dpt.datasets``, ``trainers/`` as ``tai_dpt.trainers``, etc.
"""

import re
import sys
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.config.pyprojecttoml import load_file

# folder in the repository -> package it is installed as
FOLDERS = {
    "tai_dpt": "tai_dpt",
    "trainers": "tai_dpt.trainers",
    "datasets": "tai_dpt.datasets",
    "configs": "tai_dpt.configs",
    "data": "tai_dpt.data",
}

# the maker of the small world is for a checkout; what it made ships
NOT_SHIPPED = () if "editable_wheel" in sys.argv else ("tai_dpt.emoji_scenes",)

# folders of data count as packages, too: setuptools wants each that it ships named
packages = []
for folder, package in FOLDERS.items():
    packages.append(package)
    below = find_namespace_packages(folder, exclude=["*__pycache__*"])
    packages += [f"{package}.{name}" for name in below]
packages = [package for package in packages if package not in NOT_SHIPPED]


def description() -> str:
    """The README for a package index, which has none of the files that it points to.

    Where ``[project.urls]`` has a ``Repository`` they are had from there, at the tag of this
    version; else pictures are left out, and a link is its words alone.
    """
    here = Path(__file__).parent
    repository = load_file(here / "pyproject.toml")["project"]["urls"].get("Repository")
    version = re.search(r'^__version__ = "(.+)"', (here / "tai_dpt/__init__.py").read_text(), re.M)

    def elsewhere(link: "re.Match[str]") -> str:
        picture, words, target = link.groups()
        if repository:
            kind = "raw" if picture else "blob"
            return f"{picture}[{words}]({repository.rstrip('/')}/{kind}/v{version[1]}/{target})"
        return "" if picture else words

    text = (here / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^\]]+)\]\((?![a-z]+:|#)([^)\s]+)\)", elsewhere, text)


setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    packages=packages,
    package_dir={package: folder for folder, package in FOLDERS.items()},
    include_package_data=False,  # MANIFEST.in says what a source distribution holds, no more
    package_data={
        "tai_dpt": ["py.typed"],
        "tai_dpt.reports": ["templates/*"],
        "tai_dpt.labels": ["vocabularies/*.yaml"],
        "tai_dpt.datasets": ["**/*.yaml", "**/*.txt", "**/*.json"],
        "tai_dpt.configs": ["**/*.yaml"],
        "tai_dpt.data": ["**/*"],
    },
)
