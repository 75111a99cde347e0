"""The scan against its definition, step by step in float64."""

import functools

import pytest
import torch
from torch.nn import functional as F

from asvtk.nn import scan_torch
from asvtk.nn.selective_scan import selective_scan


def definition(u, delta, A, B, C, D):
    batch, channels, length = u.shape
    group = torch.arange(channels) // (channels // B.shape[1])
    h, ys = torch.zeros(batch, channels, A.shape[1], dtype=u.dtype), []
    for t in range(length):
        decay = torch.exp(delta[:, :, t, None] * A)
        h = decay * h + (delta[:, :, t] * u[:, :, t]).unsqueeze(-1) * B[:, group, :, t]
        ys.append((h * C[:, group, :, t]).sum(-1) + D * u[:, :, t])
    return torch.stack(ys, -1)


def draw(batch, channels, groups, states, length, largest_step=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [
        normal(batch, channels, length),
        torch.rand(batch, channels, length, generator=generator, dtype=torch.float64) * largest_step,
        -torch.exp(normal(channels, states)),
        normal(batch, groups, states, length),
        normal(batch, groups, states, length),
        normal(channels),
    ]


def with_gradients(scan, inputs):
    """The scan's output, and the gradients of a random combination of its numbers."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = scan(*inputs)
    weights = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return y, *torch.autograd.grad((y * weights.to(y.dtype)).sum(), inputs)


@pytest.fixture(params=["as on a CPU", "as on a GPU", "segments of 3", "chunks of 2 segments"])
def cut(request, monkeypatch):
    """The ways to cut frames into segments and chunks; a small example alone would see only one."""
    own = scan_torch._plan

    def plan(length, numbers_per_frame, device):
        if request.param == "as on a CPU":
            return own(length, 2**17, device)  # as many numbers as real batches have: several chunks
        if request.param == "as on a GPU":
            return own(length, numbers_per_frame, torch.device("meta"))
        chunk = 6 if request.param == "chunks of 2 segments" else -(-length // 3) * 3
        return scan_torch._Plan(3, chunk, -(-length // 3) * 3)

    monkeypatch.setattr(scan_torch, "_plan", plan)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 12, 13, 50])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_cut_gives_the_definition_and_its_gradients(cut, length, groups):
    inputs = draw(2, 6, groups, 4, length)
    found, expected = with_gradients(selective_scan, inputs), with_gradients(definition, inputs)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_gradients_are_those_of_finite_differences(cut):
    inputs = [x.requires_grad_() for x in draw(1, 2, 1, 2, 8)]
    assert torch.autograd.gradcheck(selective_scan, inputs)


@pytest.mark.parametrize("length", [1, 2, 17, 201])
@pytest.mark.parametrize("groups", [1, 2])
def test_single_precision_agrees_with_the_definition(length, groups):
    exact = draw(2, 6, groups, 4, length)
    expected = with_gradients(definition, exact)
    found = with_gradients(selective_scan, [x.float() for x in exact])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


@functools.cache
def long_example(largest_step):
    inputs = draw(1, 4, 1, 4, 2000, largest_step)
    return inputs, with_gradients(definition, inputs)


@pytest.mark.parametrize("largest_step", [1e-3, 50.0])
def test_single_precision_holds_over_long_sequences(cut, largest_step):
    inputs, expected = long_example(largest_step)
    found = with_gradients(selective_scan, [x.float() for x in inputs])
    for ours, theirs in zip(found, expected, strict=True):
        error = (ours.double() - theirs).norm() / theirs.norm()
        assert error < 1e-5, f"relative error {error}"


@pytest.mark.parametrize("largest_step", [1e-6, 50.0, 1e4, 1e30])
def test_long_sequences_and_extreme_steps_stay_finite(cut, largest_step):
    inputs = [x.float().requires_grad_() for x in draw(1, 4, 1, 4, 2000, largest_step)]
    inputs[0].data /= max(largest_step, 1)  # the input is multiplied by the step
    y = selective_scan(*inputs)
    y.mean().backward()
    assert y.isfinite().all()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_gate_bias_and_softplus_are_those_of_the_block():
    u, delta, A, B, C, D = draw(2, 6, 2, 4, 9)
    z, bias = torch.randn(2, 6, 9, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    found = selective_scan(u, delta - 1, A, B, C, D, z=z, delta_bias=bias, delta_softplus=True)
    expected = definition(u, F.softplus(delta - 1 + bias[:, None]), A, B, C, D) * F.silu(z)
    torch.testing.assert_close(found, expected)


def test_half_precision_inputs_are_computed_in_single_precision():
    inputs = [x.bfloat16() for x in draw(2, 6, 2, 4, 100)]
    found = with_gradients(selective_scan, inputs)
    expected = with_gradients(selective_scan, [x.float() for x in inputs])
    assert all(x.dtype == torch.bfloat16 for x in found)
    # Output and gradients are rounded once, at the end (the weights of the combination before, too).
    torch.testing.assert_close(found[0], expected[0].bfloat16(), rtol=0, atol=0)
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        assert (ours.float() - theirs).norm() < 0.01 * theirs.norm()


def test_autocast_changes_nothing():
    inputs = [x.float() for x in draw(2, 6, 2, 4, 100)]
    expected = with_gradients(selective_scan, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(selective_scan, inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_states_are_not_kept_for_the_backward_pass(cut):
    inputs = [x.requires_grad_() for x in draw(2, 64, 1, 16, 400)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        selective_scan(*inputs)
    all_states = 2 * 64 * 16 * 400
    assert sum(kept) < 0.6 * all_states  # inputs, and the states between segments of 3 frames or more
