#!/usr/bin/env bash
# Figure 7: TaI-DPT over the number of captions it learns from.
#   DATA=/path/to/datasets bash scripts/figure7.sh voc2007
#   bash scripts/figure7.sh emoji_scenes                    the shipped data, few points
#   bash scripts/figure7.sh coco2014 --dry-run              what would run
#   bash scripts/figure7.sh coco2014 OPTIM.MAX_EPOCH 10     options for every run
# CAPTIONS="1000 4000 16000 64000 0" (0: all)  SEEDS="1 2 3"  JOBS=n (runs at once)  OUT=output
# TEXT_CONFIG=rn50  PYTHON=… (an environment of your own).  Run it again after an
# interruption: it goes on. The picture: output/<dataset>/figure7.png
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/env.sh
exec "$PYTHON" -m tai_dpt sweep figure7 "$@"
