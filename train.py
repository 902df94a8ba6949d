"""Train or evaluate, with the flags of CoOp's ``train.py``.

python train.py --trainer TaIDPT --seed 1 --root data --output-dir output/seed1 \\
    --dataset-config-file configs/datasets/emoji_scenes.yaml \\
    --config-file configs/trainers/TaIDPT/emoji_scenes.yaml TRAINER.TAIDPT.N_CTX 8
"""

from __future__ import annotations

import sys

from tai_dpt.trainers.run import main, setup_cfg

__all__ = ["main", "setup_cfg"]

if __name__ == "__main__":
    sys.exit(main())
