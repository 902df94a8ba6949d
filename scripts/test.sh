#!/usr/bin/env bash
# Environment, installation, lint, format, types, tests. Options go to pytest, e.g. -k golden;
# without any, the whole suite runs on all cores. --coverage, as CI asks for: at least 90 % of the
# lines must be run (counting them takes half as long again).
EXTRAS=dev source "$(dirname "$0")/env.sh"
coverage=()
if [ "${1:-}" = --coverage ]; then
    coverage=(--cov --cov-report term)
    shift
fi
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
bash -c "cd .venv && exec bin/python -m mypy --config-file ../pyproject.toml -p tai_dpt"
[ $# -gt 0 ] || set -- --numprocesses auto --dist worksteal
"$PYTHON" -m pytest "$@" "${coverage[@]}"
