"""The arithmetic of the frozen towers, and which one this machine is fast at."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Mapping

import torch

from tai_dpt.backbones.linear import linear
from tai_dpt.errors import unknown

PRECISIONS: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
AUTO = "auto"

_WORTH_IT = 1.5  # times as fast as fp32: below that its rounding buys too little
_SLOWER = 1.2  # times as slow: that is said
_SIDE, _ROUNDS = 512, 5  # of the matrices that are multiplied to find out


def choose_precision(asked: str, device: torch.device) -> str:
    """One of ``PRECISIONS``; "auto" is the fastest of fp32 and bf16 on ``device``.

    On CUDA bf16 where the card has it; on a CPU bf16 where a product takes well below the time of
    fp32 (as with AMX or AVX-512 BF16), which is measured once; elsewhere fp32. One that is asked
    for on a CPU that is slow at it is warned about, with the measured figures.

    Raises:
        InputError: no such precision.
    """
    if asked == AUTO:
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        fast = device.type == "cpu" and _product("fp32") >= _WORTH_IT * _product("bf16")
        return "bf16" if fast else "fp32"
    if asked not in PRECISIONS:
        raise unknown("precision (PREC)", asked, [AUTO, *PRECISIONS])
    if device.type == "cpu" and asked != "fp32":
        ours, usual = _product(asked), _product("fp32")
        if ours > _SLOWER * usual:
            warnings.warn(
                f"{asked} is slow on this processor: a product of matrices takes "
                f"{1e3 * ours:.1f} ms, in fp32 {1e3 * usual:.1f} ms; use PREC auto or fp32",
                stacklevel=2,
            )
    return asked


@functools.cache
def _product(precision: str) -> float:
    """Seconds of processor time for a product of matrices, the best of a few: what else runs on
    the machine does not count."""
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, _SIDE, _SIDE, generator=generator).to(PRECISIONS[precision])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a thread's own time is all of it
    try:
        times = []
        for _ in range(_ROUNDS):
            start = time.thread_time()
            linear(one, two)
            times.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return max(min(times), 1e-9)
