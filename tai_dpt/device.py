"""Which device to compute on, by what a person wrote: one rule for commands, taggers, training."""

from __future__ import annotations

import re

import torch

from tai_dpt.errors import InputError, unknown

NAMES = ("auto", "cpu", "gpu", "cuda", "cuda:N", "mps")


def choose_device(asked: torch.device | str = "auto") -> torch.device:
    """The device called ``asked``, in any case.

    Args:
        asked: ``auto`` is CUDA where there is one, else Apple's MPS, else the CPU; ``gpu`` is the
            same, but for the CPU; ``cuda``, ``cuda:N`` (from 0), ``mps`` and ``cpu`` are those.

    Raises:
        InputError: no such device, or none on this machine.
    """
    name = str(asked).strip().lower()
    if (name not in NAMES or name == "cuda:n") and not re.fullmatch(r"cuda:\d{1,4}", name):
        raise unknown("device", asked, NAMES)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name in ("auto", "gpu"):
        if gpus or mps:
            return torch.device("cuda" if gpus else "mps")
        if name == "auto":
            return torch.device("cpu")
        raise InputError("there is no GPU that torch can use here: use the device cpu, or auto")
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= gpus:
        there = f"the CUDA devices here are 0 to {gpus - 1}" if gpus else "there is no CUDA here"
        raise InputError(f"device '{asked}': {there}; use the device {'cuda' if gpus else 'cpu'}")
    if kind == "mps" and not mps:
        raise InputError(f"device '{asked}': this torch has no MPS here; use the device cpu")
    return torch.device(name)
