#!/usr/bin/env bash
# Type-checks the packages under the names they are installed by: mypy does not follow the
# mapping in setup.py, so it is shown a tree of links.
EXTRAS=dev source "$(dirname "$0")/env.sh"
tree=build/types
rm -rf "$tree"
mkdir -p "$tree/tai_dpt"
for part in tai_dpt/*; do ln -s "$PWD/$part" "$tree/$part"; done
for folder in trainers datasets tools; do ln -s "$PWD/$folder" "$tree/tai_dpt/$folder"; done
MYPYPATH="$tree" "$PYTHON" -m mypy --config-file pyproject.toml -p tai_dpt
