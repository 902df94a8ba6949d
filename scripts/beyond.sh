#!/usr/bin/env bash
# Beyond the paper: zero-shot CLIP, TaI-DPT and the text-driven methods after it, plain and with
# each image's scores standardised, and their fusions; all from the same stored features.
#   DATA=/path/to/datasets bash scripts/beyond.sh voc2007
#   bash scripts/beyond.sh emoji_scenes                     the shipped data
#   bash scripts/beyond.sh coco2014 --dry-run               what would run
#   bash scripts/beyond.sh coco2014 OPTIM.MAX_EPOCH 10      options for every run
# SEEDS="1 2 3"  JOBS=n (runs at once)  OUT=output  BACKBONES="rn50 rn101 vit_b16"  PYTHON=…
# (an environment of your own).  Run it again after an interruption: it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/env.sh
exec "$PYTHON" -m tai_dpt sweep beyond "$@"
