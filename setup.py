"""Packaging: the top-level folders become one import package, ``tai_dpt``.

A top-level installed package called ``datasets`` would overwrite Hugging Face's, so
``datasets/`` is installed as ``tai_dpt.datasets``, ``trainers/`` as ``tai_dpt.trainers``, etc.
"""

import sys

from setuptools import find_namespace_packages, setup

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

setup(
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
