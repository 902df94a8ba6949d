#!/usr/bin/env bash
# Makes .venv and installs the project in it, where that has not been done yet. Sourced by the
# other scripts; afterwards $PYTHON is the environment's interpreter.
#   EXTRAS=dev            optional dependencies to install as well
#   PYTHON3=python3.12    what to make it with; one of another version is made anew
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=$PWD/.venv/bin/python
version() { "$1" -c "import sys; print('%d.%d' % sys.version_info[:2])" 2> /dev/null || true; }
is_recent() { "$1" -c "import sys; sys.exit(sys.version_info < (3, 10))" 2> /dev/null; }

# Not there, half made, of a Python that is gone or too old, or of another one than was asked for
asked=${PYTHON3:+$(version "$PYTHON3")}
if ! "$PYTHON" -m pip --version > /dev/null 2>&1 || ! is_recent "$PYTHON" ||
    [ "${asked:-$(version "$PYTHON")}" != "$(version "$PYTHON")" ]; then
    [ ! -e .venv ] || echo "Making .venv anew …" >&2
    if ! said=$("${PYTHON3:-python3}" -m venv --clear .venv 2>&1); then
        echo "$said" >&2
        echo "${PYTHON3:-python3} cannot make .venv; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
    if ! is_recent "$PYTHON"; then
        echo "${PYTHON3:-python3} is Python $(version "$PYTHON"), and 3.10 or newer is needed: name" \
            "one, e.g. PYTHON3=python3.12 bash $0" >&2
        rm -rf .venv
        exit 1
    fi
fi

# Install again when what is to be installed changed, more of it is asked for, or the folder was
# moved. The installation is a tree of links, a file each, so that editors and type checkers resolve
# every import (editable_mode=strict): a file added or removed counts as a change.
wanted=$({ cat setup.py pyproject.toml; find tai_dpt trainers datasets configs data -type f \
    -not -path "*/__pycache__/*" | LC_ALL=C sort; } | cksum)
stamps=".venv/installed-${EXTRAS:-*}"
links=.venv/lib/python*/site-packages/__editable__*.pth
if ! grep -qxsF "$wanted" $stamps || ! grep -qsF "$PWD/" $links; then
    echo "Installing (the first time this downloads PyTorch, up to some GB) …" >&2
    quiet=--quiet
    [ ! -t 2 ] || compgen -G "$stamps" > /dev/null || quiet= # a long download shows itself
    "$PYTHON" -m pip install $quiet --disable-pip-version-check -e ".${EXTRAS:+[$EXTRAS]}" \
        --config-settings editable_mode=strict >&2
    echo "$wanted" > ".venv/installed-${EXTRAS:-base}"
fi
