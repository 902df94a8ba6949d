"""One rule for devices: the names people write, what is there, one line where it is not."""

from __future__ import annotations

import re

import pytest
import torch

from tai_dpt.device import choose_device
from tai_dpt.errors import InputError


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many CUDA devices, and with MPS or without."""

    def set_up(gpus: int, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return set_up


@pytest.mark.parametrize(
    ("gpus", "mps", "asked", "chosen"),
    [
        (2, True, "auto", "cuda"),
        (0, True, "auto", "mps"),
        (0, False, "auto", "cpu"),
        (2, False, "CPU", "cpu"),
        (2, False, "gpu", "cuda"),
        (0, True, "GPU", "mps"),
        (2, False, " CUDA:1 ", "cuda:1"),
        (0, True, "mps", "mps"),
    ],
)
def test_what_is_chosen(machine, gpus, mps, asked, chosen):
    machine(gpus, mps)
    assert choose_device(asked) == torch.device(chosen)


@pytest.mark.parametrize(
    ("gpus", "asked", "message"),
    [
        (0, "gpu", "there is no GPU that torch can use here: use the device cpu, or auto"),
        (0, "cuda", "there is no CUDA here; use the device cpu"),
        (2, "cuda:9", "the CUDA devices here are 0 to 1; use the device cuda"),
        (2, "mps", "this torch has no MPS here"),
        (2, "cuda:N", "unknown device 'cuda:N'"),
        (2, "cuda:-1", "unknown device"),
        (2, "cdua", "did you mean 'cuda'? valid: auto, cpu, gpu, cuda, cuda:N, mps"),
        (2, "", "unknown device"),
    ],
)
def test_what_is_refused(machine, gpus, asked, message):
    machine(gpus)
    with pytest.raises(InputError, match=re.escape(message)):
        choose_device(asked)
