"""Train or evaluate, with the flags of CoOp's ``train.py``; the same as ``tai-dpt train``.

python train.py --trainer TaIDPT --seed 1 --root data --output-dir output/seed1 \\
    --dataset-config-file configs/datasets/emoji_scenes.yaml \\
    --config-file configs/trainers/TaIDPT/emoji_scenes.yaml TRAINER.TAIDPT.N_CTX 8
"""

from __future__ import annotations

import sys

from tai_dpt.io.module_alias import hide_checkout

hide_checkout()

from tai_dpt.cli.train import main  # noqa: E402


def __getattr__(name: str) -> object:
    """``setup_cfg``, as in CoOp's file; looked up late, for what its import may complain of."""
    if name != "setup_cfg":
        raise AttributeError(name)
    from tai_dpt.trainers.run import setup_cfg

    return setup_cfg


if __name__ == "__main__":
    sys.exit(main())
