#!/usr/bin/env bash
# Figure 6: a few labelled images of each class; multi-label CoOp and its ensemble with TaI-DPT.
#   DATA=/path/to/datasets bash scripts/figure6.sh voc2007
#   bash scripts/figure6.sh emoji_scenes                    the shipped data, 1, 4 and 16 shots
#   bash scripts/figure6.sh coco2014 --dry-run              what would run
#   bash scripts/figure6.sh coco2014 OPTIM.MAX_EPOCH 10     options for every run
# SHOTS="1 2 4 8 16"  SEEDS="1 2 3"  JOBS=n (runs at once)  OUT=output  TEXT_CONFIG=rn50
# IMAGE_CONFIG=rn50  PYTHON=… (an environment of your own).  Run it again after an
# interruption: it goes on. The picture: output/<dataset>/figure6.png
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/env.sh
exec "$PYTHON" -m tai_dpt sweep figure6 "$@"
