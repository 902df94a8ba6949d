#!/usr/bin/env bash
# Makes .venv and installs the project in it, where that has not been done yet. Sourced by the
# other scripts; afterwards $PYTHON is the environment's interpreter.
#   EXTRAS=dev        optional dependencies to install as well
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=$PWD/.venv/bin/python
[ -x "$PYTHON" ] || "${PYTHON3:-python3}" -m venv .venv

# Install again when what is to be installed changed, or more of it is asked for.
wanted=$(cat setup.py pyproject.toml | cksum)
stamps=".venv/installed-${EXTRAS:-*}"
if ! grep -qxsF "$wanted" $stamps; then
    echo "Installing (the first time this downloads PyTorch) …" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -e ".${EXTRAS:+[$EXTRAS]}" >&2
    echo "$wanted" > ".venv/installed-${EXTRAS:-base}"
fi
