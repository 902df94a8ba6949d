#!/usr/bin/env bash
# Table 3: 16 novel classes of COCO, zero-shot CLIP and TaI-DPT; CoOp and its ensemble with TaI-DPT
# on 1 and 5 images of each class. On all images of val2014, and on those that show such a class.
#   DATA=/path/to/datasets bash scripts/table3.sh coco2014_novel
#   bash scripts/table3.sh coco2014_novel --dry-run               what would run
#   bash scripts/table3.sh coco2014_novel OPTIM.MAX_EPOCH 10      options for every run
# SHOTS="1 5"  SEEDS="1 2 3"  JOBS=n (runs at once)  OUT=output  TEXT_CONFIG=rn50
# PYTHON=… (an environment of your own).  Run it again after an interruption: it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/env.sh
exec "$PYTHON" -m tai_dpt sweep table3 "$@"
