#!/usr/bin/env bash
# Bad inputs through every command: prints what fell short as a table, and nothing where none did.
# --faults N: kill -9 at random moments, N seeds of every trainer, fit, tag, a sweep and a store.
# Other arguments go to pytest: bash scripts/robustness.sh -k tagger
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRAS=dev source scripts/env.sh
if [ "${1:-}" = --faults ]; then
  export TAI_DPT_FAULT_SEEDS=${2:?how many seeds, e.g. 20}
  shift 2
  set -- -k killed "$@"
fi
OMP_NUM_THREADS=1 "$PYTHON" -m pytest tests/robustness --tb=no "$@"
