#!/usr/bin/env bash
# Environment, installation, lint, format, types, tests. Options go to pytest, e.g. -k golden.
EXTRAS=dev source "$(dirname "$0")/env.sh"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
bash scripts/types.sh
"$PYTHON" -m pytest "$@"
