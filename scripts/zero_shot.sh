#!/usr/bin/env bash
# Zero-shot and generalised zero-shot: learned for seen classes, tested on unseen ones and on all
# (COCO 48 / 17, NUS-WIDE 925 / 81; of any other data set a fifth of the classes is unseen).
#   DATA=/path/to/datasets bash scripts/zero_shot.sh coco2014
#   bash scripts/zero_shot.sh emoji_scenes                     the shipped data
#   bash scripts/zero_shot.sh coco2014 --dry-run               what would run
#   bash scripts/zero_shot.sh coco2014 OPTIM.MAX_EPOCH 10      options for every run
# IMAGE_CONFIG=rn101  SEEDS="1 2 3"  JOBS=n (runs at once)  OUT=output  TEXT_CONFIG=rn50
# PYTHON=… (an environment of your own).  Run it again after an interruption: it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/env.sh
exec "$PYTHON" -m tai_dpt sweep zero_shot "$@"
