#!/usr/bin/env bash
#SBATCH --job-name=tai-dpt
#SBATCH --array=1-6
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --output=slurm-%A_%a.log
# A sweep as a SLURM array: each task takes its share of the runs. From the repository:
#   DATA=/path/to/datasets sbatch --array=1-9 scripts/slurm.sh table2 voc2007
# Submit the same line again until all is finished; finished runs are skipped, unfinished ones
# resumed. Install first (bash scripts/test.sh, or pip install -e . and PYTHON=…): the tasks
# would all install at once. The table: tai-dpt report output/voc2007
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
name=${1:?"usage: sbatch scripts/slurm.sh table1|table2|figure6|figure7|table3|zero_shot|beyond DATASET [options]"}
exec bash "scripts/$name.sh" "${@:2}"
