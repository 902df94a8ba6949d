#!/usr/bin/env bash
# Environment, installation, lint, format, types, tests. Options go to pytest, e.g. -k golden;
# without any, the whole suite runs on all cores, and at least 90 % of the lines must be run.
EXTRAS=dev source "$(dirname "$0")/env.sh"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
bash -c "cd .venv && exec bin/python -m mypy --config-file ../pyproject.toml -p tai_dpt"
[ $# -gt 0 ] || set -- --numprocesses auto --dist worksteal --cov --cov-report term
"$PYTHON" -m pytest "$@"
