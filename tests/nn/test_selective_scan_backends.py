"""Which backend scans, what is said when it cannot, and how the kernel of mamba_ssm is called."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from asvtk.io.errors import AsvtkError
from asvtk.nn import scan_mamba_ssm
from asvtk.nn.scan_mamba_ssm import why_not_mamba_ssm
from asvtk.nn.selective_scan import active_backend, select_backend, selective_scan

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh():
    why_not_mamba_ssm.cache_clear()
    yield
    why_not_mamba_ssm.cache_clear()
    select_backend("auto")


def draw(device, length=50, batch=2, channels=6, groups=2, states=4):
    torch.manual_seed(0)
    inputs = {
        "u": torch.randn(batch, channels, length),
        "delta": torch.randn(batch, channels, length),
        "A": -torch.exp(torch.randn(channels, states)),
        "B": torch.randn(batch, groups, states, length),
        "C": torch.randn(batch, groups, states, length),
        "D": torch.randn(channels),
        "z": torch.randn(batch, channels, length),
        "delta_bias": torch.randn(channels),
    }
    return {name: x.to(device).requires_grad_() for name, x in inputs.items()}


def with_gradients(scan, inputs):
    y = scan(*inputs.values(), delta_softplus=True)
    weights = torch.linspace(-1, 1, y.numel(), device=y.device).view_as(y)
    return y, *torch.autograd.grad((y * weights).sum(), inputs.values())


def test_a_cpu_scans_with_torch_unless_told_otherwise():
    assert active_backend("cpu") == "torch"
    select_backend("torch")
    assert active_backend("cuda") == "torch"


def test_an_unknown_backend_is_refused():
    with pytest.raises(AsvtkError, match="'triton'.*auto, mamba_ssm, torch"):
        select_backend("triton")


@pytest.mark.parametrize(
    "installed, reason", [([], "not installed"), (["mamba_ssm"], "without its compiled")]
)
def test_a_missing_kernel_is_named_with_its_remedy(monkeypatch, installed, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(scan_mamba_ssm.importlib.util, "find_spec", lambda name: name in installed or None)
    with pytest.raises(AsvtkError, match=f"{reason}.*tools/install_mamba.sh"):
        select_backend("mamba_ssm")
    assert active_backend("cuda") == "torch"  # the selection did not change


def test_a_kernel_that_does_not_load_is_named_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *shape, device: torch.zeros(shape) + 1)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "selective_scan_cuda", raising=False)
    (tmp_path / "selective_scan_cuda.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    with pytest.raises(
        AsvtkError, match="does not run here .undefined symbol: _ZN3c10.*tools/install_mamba.sh"
    ):
        select_backend("mamba_ssm")


def test_the_kernel_is_not_used_for_tensors_on_a_cpu(monkeypatch):
    monkeypatch.setattr(scan_mamba_ssm.torch.cuda, "is_available", lambda: False)
    with pytest.raises(AsvtkError, match="no CUDA device is available"):
        select_backend("mamba_ssm")
    monkeypatch.setattr("asvtk.nn.selective_scan._selected", "mamba_ssm")
    with pytest.raises(AsvtkError, match="needs a CUDA device, not cpu"):
        selective_scan(*draw("cpu").values())


@pytest.fixture
def stand_in(monkeypatch):
    """Stands in for selective_scan_cuda: the same interface and demands, computed by the torch backend.

    From the messages that the kernel refuses tensors with (mamba_ssm 2.3).
    """

    def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        for sequence in (u, delta, B, C) if z is None else (u, delta, B, C, z):
            assert sequence.stride(-1) == 1 and sequence.dtype == u.dtype
        assert A.dtype == D.dtype == torch.float32 and B.dim() == C.dim() == 4
        select_backend("torch")
        return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)

    def fwd(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        states = torch.zeros(len(u), len(A), 1, 2 * A.shape[1])
        ungated = scan(u, delta, A, B, C, D, None, delta_bias, delta_softplus)
        return [ungated, states] if z is None else [ungated, states, ungated * F.silu(z)]

    def bwd(u, delta, A, B, C, D, z, delta_bias, grad, states, y, grad_z, delta_softplus, recompute):
        assert grad.stride(-1) == 1 and grad.dtype == u.dtype and states.dim() == 4
        assert grad_z is None and recompute is False and (y is None) == (z is None)
        inputs = [
            x if x is None else x.detach().requires_grad_() for x in (u, delta, A, B, C, D, z, delta_bias)
        ]
        with torch.enable_grad():
            y = scan(*inputs, delta_softplus)
        grads = iter(torch.autograd.grad(y, [x for x in inputs if x is not None], grad))
        *grads, grad_z, grad_bias = [x if x is None else next(grads) for x in inputs]
        return [*grads, grad_bias] if z is None else [*grads, grad_bias, grad_z]

    monkeypatch.setitem(sys.modules, "selective_scan_cuda", SimpleNamespace(fwd=fwd, bwd=bwd))
    return scan_mamba_ssm.scan_mamba_ssm


def test_the_kernel_gets_and_gives_what_belongs_where(stand_in):
    inputs = draw("cpu")
    torch.testing.assert_close(with_gradients(stand_in, inputs), with_gradients(selective_scan, inputs))


def test_the_kernel_works_without_gate_and_bias(stand_in):
    inputs = {name: x for name, x in draw("cpu").items() if name not in ("z", "delta_bias")}
    inputs["delta"] = inputs["delta"].detach().exp().requires_grad_()
    y = stand_in(*inputs.values(), None, None, False)
    torch.testing.assert_close(y, selective_scan(*inputs.values()))
    torch.testing.assert_close(
        torch.autograd.grad(y.sum(), inputs.values()),
        torch.autograd.grad(selective_scan(*inputs.values()).sum(), inputs.values()),
    )


def test_any_layout_and_mixed_types_suit_the_kernel(stand_in):
    inputs = draw("cpu")
    expected = stand_in(*inputs.values(), True)
    strange = {name: x.detach().mT.contiguous().mT if x.dim() > 2 else x for name, x in inputs.items()}
    strange["B"] = strange["B"].double()
    torch.testing.assert_close(stand_in(*strange.values(), True), expected)


@pytest.mark.skipif(why_not_mamba_ssm(CUDA) is not None, reason=f"{why_not_mamba_ssm(CUDA)}")
@pytest.mark.parametrize("length", [1, 2, 201, 2049])
def test_both_backends_agree_on_a_gpu(length):
    inputs = draw(CUDA, length)
    assert active_backend(CUDA) == "mamba_ssm"
    theirs = with_gradients(selective_scan, inputs)
    select_backend("torch")
    ours = with_gradients(selective_scan, inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
