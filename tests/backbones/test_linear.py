"""Frozen linear layers are the same whichever library multiplies."""

from __future__ import annotations

import platform

import pytest
import torch
import torch.nn.functional as F

from tai_dpt.backbones import linear as module
from tai_dpt.backbones.linear import freeze_linear_layers, linear, mkl_is_slow

needs_onednn = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available(),
    reason="torch without oneDNN",
)


@pytest.fixture(params=[False, True], ids=["usual", "oneDNN"])
def either(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    monkeypatch.setattr(module, "mkl_is_slow", lambda: request.param)


def both(x, weight, bias, weigh):
    """Output and the gradient by ``x``, of ours and in double precision by ``F.linear``."""
    exact = x.detach().double().requires_grad_()
    wanted = F.linear(exact, weight.double(), None if bias is None else bias.double())
    (wanted * weigh.double()).sum().backward()
    x = x.detach().requires_grad_()
    found = linear(x, weight, bias)
    (found * weigh).sum().backward()
    return (found, x.grad), (wanted, exact.grad)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 7, 5), (2, 3, 4, 5), (0, 5)])
@pytest.mark.parametrize("turned", [False, True], ids=["whole", "view"])
@pytest.mark.parametrize("biased", [False, True])
def test_equals_double_precision(either, shape, turned, biased):
    torch.manual_seed(len(shape))
    x, bias = torch.randn(shape), torch.randn(6) if biased else None
    weight = torch.randn(5, 6).t() if turned else torch.randn(6, 5)
    found, wanted = both(x, weight, bias, torch.randn(*shape[:-1], 6))
    for ours, exact in zip(found, wanted, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


def test_rows_that_lie_apart(either):
    torch.manual_seed(0)
    x, weight = torch.randn(4, 9, 8)[:, ::2, :5], torch.randn(6, 5)
    found, wanted = both(x, weight, None, torch.randn(4, 5, 6)[:, :, torch.arange(5, -1, -1)])
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1].double(), wanted[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_torchs(either, dtype):
    x, weight = torch.randn(3, 5, dtype=dtype), torch.randn(6, 5, dtype=dtype)
    assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_a_librarys_layers_are_frozen_ones(either):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 2))
    x = torch.randn(3, 5, requires_grad=True)
    wanted = model(x)
    (by_x,) = torch.autograd.grad(wanted.sum(), x)
    state = model.state_dict()
    freeze_linear_layers(model)
    found = model(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), x)[0], by_x, rtol=1e-5, atol=1e-6)
    assert model.state_dict().keys() == state.keys()


@needs_onednn
def test_a_traced_model_runs_without_it(monkeypatch):
    monkeypatch.setattr(module, "mkl_is_slow", lambda: True)
    traced = torch.jit.trace(linear, (torch.randn(3, 5), torch.randn(6, 5)))
    assert "mkldnn" not in str(traced.graph)


@pytest.mark.parametrize(
    ("processor", "capability", "slow"),
    [
        ("vendor_id\t: AuthenticAMD", "AVX512", True),
        ("vendor_id\t: HygonGenuine", "AVX512", True),
        ("AMD64 Family 26 Model 2 Stepping 1, AuthenticAMD", "AVX512", True),
        ("vendor_id\t: AuthenticAMD", "AVX2", False),
        ("vendor_id\t: GenuineIntel", "AVX512", False),
        ("", "AVX512", False),
    ],
)
@needs_onednn
def test_where_it_is_used(monkeypatch, processor, capability, slow):
    monkeypatch.setattr(module, "_processor", lambda: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert mkl_is_slow.__wrapped__() is slow
