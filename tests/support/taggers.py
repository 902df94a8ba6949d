"""A tagger that is fitted in a second, for the tests of the commands and of the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from clips import golden_state

CLASSES = ["dog", "car", "traffic light"]
CAPTIONS = [
    "a dog runs beside a car",
    "two cars at a traffic light",
    "a brown dog",
    "the traffic light is red",
    "a dog, a car and a traffic light",
    "nothing to see here",
] * 40
# a few steps: what is learned does not matter here
OPTIONS = [
    "TRAINER.TAIDPT.PREC",
    "fp32",
    "OPTIM.MAX_EPOCH",
    2,
    "TRAINER.TAIDPT.N_CTX",
    2,
    "FEATURES.CACHE",
    "memory",
]


def weight_file(folder: Path) -> Path:
    """The golden CLIP's weights in ``folder``."""
    path = folder / "tiny.safetensors"
    save_file(golden_state(), path)
    return path


def new_tagger(folder: Path, backbone: str | None = None):
    """Fitted to ``CAPTIONS`` with the golden CLIP, or another backbone."""
    from tai_dpt import Tagger

    return Tagger.from_captions(
        classes=CLASSES,
        captions=CAPTIONS,
        backbone=backbone or weight_file(folder),
        options=OPTIONS,
    )


def photo(path: Path, *, size: tuple[int, int] = (90, 70), seed: int = 0, **options) -> Path:
    """An image file of coloured blocks."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(path, **options)
    return path


def tagger_and_photos(folder: Path, count: int) -> Path:
    """``folder``, with a new tagger in ``tagger`` and ``count`` images in ``photos``."""
    new_tagger(folder).save(folder / "tagger")
    (folder / "photos").mkdir()
    for i in range(count):
        photo(folder / "photos" / f"{i}.png", seed=i)
    return folder


def run(*arguments: object, stdin: str | None = None):
    """A command line of ``tai-dpt``, in this process: (exit code, stdout, stderr)."""
    import warnings

    from click.testing import CliRunner

    from tai_dpt.cli.main import cli
    from tai_dpt.errors import InputError

    with warnings.catch_warnings():
        result = CliRunner().invoke(cli, [str(a) for a in arguments], input=stdin)
    if isinstance(result.exception, InputError):
        return 2, result.stdout, f"{result.stderr}error: {result.exception}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
