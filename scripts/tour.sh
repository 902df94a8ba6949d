#!/usr/bin/env bash
# The README's tour: learn by reading, tag images, see why, all on emoji_scenes. Every picture
# in the README is drawn by a command here.
#   OUT=output/tour   where everything goes
#   EPOCHS=1          of both trainings: a quick walk, with worse tags
source "$(dirname "$0")/env.sh"
OUT=${OUT:-output/tour}
epochs=${EPOCHS:+--epochs $EPOCHS}
world=data/emoji_scenes
run() { printf '\n$ tai-dpt %s\n' "$*"; "$PYTHON" -m tai_dpt "$@"; }
mkdir -p "$OUT"

# learn 64 classes from 6,000 captions; no image is opened
run fit --classes $world/classes.yaml --captions $world/annotations/captions_train.json \
    --backbone emoji_scenes --out "$OUT/tagger" --overwrite $epochs TRAINER.TAIDPT.N_CTX 8

# twenty unlabelled images say where the scores of images lie
run calibrate "$OUT/tagger" --images "$world/images/val/3000[01]*"

run tag "$OUT/tagger" "$world/images/test/40000*"
run tag "$OUT/tagger" $world/images/test --format csv --out "$OUT/tags.csv" --overwrite

# figure 4: where in an image; figure 3: which words
run explain "$OUT/tagger" $world/images/test/400004.webp \
    --class truck --class dog --class cow --class horse --out "$OUT/where.png"
run explain "$OUT/tagger" --text "two dogs chase a red car near a giraffe" \
    --class dog --class car --class giraffe --class horse --out "$OUT/words.png"
run explain "$OUT/tagger" $world/images/test/400001.webp --text "a man rides a horse" \
    --out "$OUT/why.html"

# a whole training run with its table, where quickstart.sh has not made it, and a page about it
demo=output/demo
[ -f $demo/TaIDPT/seed1/results.json ] || { demo=$OUT/demo && run demo --out "$demo" $epochs; }
run page "$demo/TaIDPT/seed1" --out "$OUT/report.html" --overwrite
