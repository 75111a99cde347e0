"""The scan against its definition, step by step in float64."""

import pytest
import torch

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


@pytest.mark.parametrize("length", [1, 2, 17, 201])
@pytest.mark.parametrize("groups", [1, 2])
def test_scan_and_all_gradients_agree_with_the_definition(length, groups):
    exact = [x.requires_grad_() for x in draw(2, 6, groups, 4, length)]
    single = [x.detach().float().requires_grad_() for x in exact]
    expected, found = definition(*exact), selective_scan(*single)
    weights = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * weights).sum().backward()
    (found * weights.float()).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(single, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("largest_step", [1e-6, 50.0, 1e4])
def test_long_sequences_and_extreme_steps_stay_finite(largest_step):
    inputs = [x.float().requires_grad_() for x in draw(1, 4, 1, 4, 2000, largest_step)]
    y = selective_scan(*inputs)
    y.square().mean().backward()
    assert y.isfinite().all()
    assert all(x.grad.isfinite().all() for x in inputs)
