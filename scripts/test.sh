#!/usr/bin/env bash
# Environment, installation, lint, format, types, tests. Options go to pytest, e.g. -k golden.
EXTRAS=dev source "$(dirname "$0")/env.sh"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
bash -c "cd .venv && exec bin/python -m mypy --config-file ../pyproject.toml -p tai_dpt"
"$PYTHON" -m pytest "$@"
