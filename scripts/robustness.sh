#!/usr/bin/env bash
# Bad inputs through every command: prints what fell short as a table, and nothing where none did.
# Arguments go to pytest: bash scripts/robustness.sh -k tagger
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRAS=dev source scripts/env.sh
OMP_NUM_THREADS=1 "$PYTHON" -m pytest tests/robustness --tb=no "$@"
