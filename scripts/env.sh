#!/usr/bin/env bash
# Makes .venv and installs the project in it, where that has not been done yet. Sourced by the
# other scripts; afterwards $PYTHON is the environment's interpreter.
#   EXTRAS=dev        optional dependencies to install as well
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=$PWD/.venv/bin/python
if ! "$PYTHON" -m pip --version > /dev/null 2>&1; then # not there, or half made
    if ! said=$("${PYTHON3:-python3}" -m venv --clear .venv 2>&1); then
        echo "$said" >&2
        echo "${PYTHON3:-python3} cannot make .venv; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
fi

# Install again when what is to be installed changed, or more of it is asked for. The installation
# is a tree of links, a file each, so that editors and type checkers resolve every import
# (editable_mode=strict): a file added or removed counts as a change.
wanted=$({ cat setup.py pyproject.toml; find tai_dpt trainers datasets configs data -type f \
    -not -path "*/__pycache__/*" | LC_ALL=C sort; } | cksum)
stamps=".venv/installed-${EXTRAS:-*}"
if ! grep -qxsF "$wanted" $stamps; then
    echo "Installing (the first time this downloads PyTorch) …" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -e ".${EXTRAS:+[$EXTRAS]}" \
        --config-settings editable_mode=strict >&2
    echo "$wanted" > ".venv/installed-${EXTRAS:-base}"
fi
