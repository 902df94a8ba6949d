#!/usr/bin/env bash
# Installs the project, learns prompts from the captions of emoji_scenes, recognises in its
# images: a table and output/demo/scenes.png. Options go to `tai-dpt demo`, e.g. --seed 1 --seed 2.
source "$(dirname "$0")/env.sh"
"$PYTHON" -m tai_dpt demo "$@"
