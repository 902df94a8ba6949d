"""The linear layers of frozen towers, by the faster of the two libraries that torch brings.

For fp32 on x86 torch calls MKL, which on processors not of its maker leaves AVX-512 aside; there
oneDNN, which torch calls for everything else, is twice as fast (``benchmarks/run.sh encoding``).
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OTHER_MAKERS = ("AuthenticAMD", "HygonGenuine")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` with a weight and a bias that are not learned; they get no gradient.

    Args:
        x: (…, in).
        weight: (out, in), may be a view.
        bias: (out,).

    Returns: (…, out).
    """
    if x.dtype != torch.float32 or x.device.type != "cpu" or not mkl_is_slow() or _exporting():
        return F.linear(x, weight, bias)
    return cast("Tensor", _OneDNN.apply(x, weight, bias))


def _exporting() -> bool:
    """Whether the call is being recorded, to run on other machines too."""
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return traced or torch.compiler.is_compiling()


class _FrozenLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def freeze_linear_layers(model: nn.Module) -> None:
    """Make the linear layers of a library's frozen model such as ``linear``, in place."""
    for layer in model.modules():
        if type(layer) is nn.Linear:  # a kind of its own may do more
            layer.__class__ = _FrozenLinear


class _OneDNN(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(gradients[0], weight.t(), None), None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # torch's own name for it, which its compiler writes; no public one leads here in fp32
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@functools.cache
def mkl_is_slow() -> bool:
    """Whether fp32 products go to MKL on a processor with AVX-512 that MKL does not use.

    The processor decides and not a clock, so that a machine gives the same numbers every time.
    """
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and any(maker in _processor() for maker in _OTHER_MAKERS)
    )


def _processor() -> str:
    """What the system says of the processor: on Linux in a file, on Windows in a variable."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return os.environ.get("PROCESSOR_IDENTIFIER", "")
