#!/usr/bin/env bash
# All benchmarks, or those of the parts named; what they find goes into benchmarks/RESULTS.md.
#
#   bash benchmarks/run.sh [--quick] [--labelled FILE] [part …]
#
#   a  a training step            e  loss and metric
#   b  the whole job              f  memory
#   c  encoding captions          g  lower precision
#   d  the noun filter            h  evaluation
#
# --quick      toy sizes, in seconds; RESULTS.md stays as it is
# --labelled   part d: captions with their images' classes, see benchmarks/noun_filter.py
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python}
quick=()
labelled=""
parts=()
while (($#)); do
    case $1 in
    --quick) quick=(--quick) ;;
    --labelled) labelled=${2:?"--labelled needs a file"}; shift ;;
    [a-h]) parts+=("$1") ;;
    *) echo "unknown part or option '$1'; valid: --quick, --labelled FILE, a … h" >&2; exit 2 ;;
    esac
    shift
done
((${#parts[@]})) || parts=(a b c d e f g h)

declare -A modules=([a]=step [b]=job [c]=encoding [e]=losses [f]=memory [g]=precision [h]=evaluation)
for part in "${parts[@]}"; do
    if [[ $part != d ]]; then
        "$python" -W ignore -m "benchmarks.${modules[$part]}" "${quick[@]}"
    elif [[ -n $labelled ]]; then
        nouns=("$python" -W ignore benchmarks/noun_filter.py "$labelled")
        if ((${#quick[@]})); then
            "${nouns[@]}" --classes 0
        else
            "${nouns[@]}" --half odd | "$python" -m benchmarks.record d "The noun filter, on images it was not tuned on"
        fi
    else
        echo "part d is left out: it needs --labelled FILE"
    fi
done
