#!/usr/bin/env bash
# Table 2: partial labels; DualCoOp, TaI-DPT and their ensemble, each also with the concepts of the
# captions beside it.
#   DATA=/path/to/datasets bash scripts/table2.sh voc2007
#   bash scripts/table2.sh emoji_scenes                     the shipped data, 10, 50 and 90 %
#   bash scripts/table2.sh coco2014 --dry-run               what would run
#   bash scripts/table2.sh coco2014 OPTIM.MAX_EPOCH 10      options for every run
# PROPORTIONS="0.1 … 0.9"  SEEDS="1 2 3"  JOBS=n (runs at once)  OUT=output  TEXT_CONFIG=rn50
# IMAGE_CONFIG=rn101  PYTHON=… (an environment of your own).  Run it again after an
# interruption: it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/env.sh
exec "$PYTHON" -m tai_dpt sweep table2 "$@"
