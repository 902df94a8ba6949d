#!/usr/bin/env bash
# All benchmarks, or those of the parts named; what they find goes into benchmarks/RESULTS.md.
#
#   bash benchmarks/run.sh [--quick] [--labelled FILE] [part …]
#
#   a step       a training step            f memory      peak memory of a step
#   b job        the whole job              g precision   lower precision
#   c encoding   encoding captions          h evaluation  an epoch's test, image files
#   d nouns      the noun filter            i store       reading the feature store
#   e losses     loss and metric             j images     encoding, tagging images
#   k methods    the methods after the paper  l startup    imports, one photo
#   m scale      many classes and captions    n gpu        on a GPU, where there is one
#
# A part goes by its name or its letter. Runs in .venv, which it makes where there is none; PYTHON
# names another interpreter.
# --quick      toy sizes, in seconds; RESULTS.md stays as it is
# --labelled   part nouns: captions with their images' classes, see benchmarks/noun_filter.py
set -euo pipefail
cd "$(dirname "$0")/.."

names=(step job encoding nouns losses memory precision evaluation store images methods startup scale gpu)
letters=abcdefghijklmn
quick=()
labelled=""
parts=()
while (($#)); do
    case $1 in
    --quick) quick=(--quick) ;;
    --labelled) labelled=${2:?"--labelled needs a file"}; shift ;;
    *)
        part=""
        for i in "${!names[@]}"; do
            [[ $1 == "${names[i]}" || $1 == "${letters:i:1}" ]] && part=${names[i]}
        done
        if [[ -z $part ]]; then
            valid=$(printf '%s, ' "${names[@]}")
            echo "unknown part or option '$1'; valid: ${valid%, } (a … n), --quick, --labelled FILE" >&2
            exit 2
        fi
        parts+=("$part")
        ;;
    esac
    shift
done
((${#parts[@]})) || parts=("${names[@]}")
[[ -n ${PYTHON:-} ]] || source scripts/env.sh

for part in "${parts[@]}"; do
    if [[ $part != nouns ]]; then
        "$PYTHON" -W ignore -m "benchmarks.$part" "${quick[@]}"
    elif [[ -n $labelled ]]; then
        nouns=("$PYTHON" -W ignore benchmarks/noun_filter.py "$labelled")
        if ((${#quick[@]})); then
            "${nouns[@]}" --classes 0
        else
            "${nouns[@]}" --half odd | "$PYTHON" -m benchmarks.record d "The noun filter, on images it was not tuned on"
        fi
    else
        echo "part nouns is left out: it needs --labelled FILE"
    fi
done
