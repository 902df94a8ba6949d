"""Stands in for train.py: takes its flags, counts epochs, checkpoints and resumes as it does.

FAKE_EPOCH_SECONDS: how long an epoch takes. FAKE_FAIL: part of the output folder's name that
makes a run fail.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_runs import write_run

EPOCHS = 4


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("root", "seed", "trainer", "dataset-config-file", "config-file", "output-dir"):
        parser.add_argument(f"--{flag}", required=True)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("--model-dir")
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    folder = Path(args.output_dir)
    checkpoint = folder / "prompt_learner" / "checkpoint"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    (folder / "pid").write_text(str(os.getpid()))
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    print(f"from epoch {start + 1}", flush=True)
    for epoch in range(start + 1, EPOCHS + 1):
        time.sleep(float(os.environ.get("FAKE_EPOCH_SECONDS", 0)))
        if (word := os.environ.get("FAKE_FAIL")) and word in str(folder):
            raise RuntimeError("out of memory")
        checkpoint.write_text(str(epoch))
        with (folder / "history.jsonl").open("a") as history:
            history.write(f'{{"epoch": {epoch}, "epochs": {EPOCHS}, "step": {epoch}}}\n')
    options = dict(zip(args.opts[::2], args.opts[1::2], strict=True))
    numbers = {"DATASET.PARTIAL.PROPORTION": float, "DATASET.NUM_SHOTS": int}
    numbers["DATASET.CORPUS.MAX_CAPTIONS"] = int
    write_run(
        folder,
        trainer=args.trainer,
        dataset=Path(args.dataset_config_file).stem,
        seed=int(args.seed),
        mean_ap=(50.0, 60.0, 70.0 + int(args.seed)),
        **{k.replace(".", "__"): numbers.get(k, str)(v) for k, v in options.items()},
    )


if __name__ == "__main__":
    main()
