#!/usr/bin/env bash
# Table 1: zero-shot CLIP and TaI-DPT, global alone and with the local branch.
#   DATA=/path/to/datasets bash scripts/table1.sh voc2007
#   bash scripts/table1.sh emoji_scenes                     the shipped data
#   bash scripts/table1.sh coco2014 --dry-run               what would run
#   bash scripts/table1.sh coco2014 OPTIM.MAX_EPOCH 10      options for every run
# SEEDS="1 2 3"  JOBS=n (runs at once)  OUT=output  TEXT_CONFIG=rn50  PYTHON=… (an environment
# of your own).  Run it again after an interruption: it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/env.sh
exec "$PYTHON" -m tai_dpt sweep table1 "$@"
