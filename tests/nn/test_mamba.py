"""Mamba and BiMamba: names, causality, and padding that reaches nobody."""

import pytest
import torch
from torch.nn import functional as F

from asvtk.nn.frames import reverse_frames
from asvtk.nn.mamba import COMBINATIONS, BiMamba, Mamba
from asvtk.nn.selective_scan import selective_scan

#: state dict of mamba_ssm.Mamba(d_model=32, d_state=8, d_conv=4, expand=2), from its documentation
MAMBA_SSM = {
    "A_log": (64, 8),
    "D": (64,),
    "in_proj.weight": (128, 32),
    "conv1d.weight": (64, 1, 4),
    "conv1d.bias": (64,),
    "x_proj.weight": (18, 64),
    "dt_proj.weight": (64, 2),
    "dt_proj.bias": (64,),
    "out_proj.weight": (32, 64),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_parameters_are_those_of_mamba_ssm():
    ours = Mamba(32, d_state=8).state_dict()
    assert {name: tuple(value.shape) for name, value in ours.items()} == MAMBA_SSM


def test_initial_dt_lies_between_a_thousandth_and_a_tenth():
    dt = torch.nn.functional.softplus(Mamba(64).dt_proj.bias)
    assert dt.min() > 0.00099 and dt.max() < 0.1001


def test_mamba_is_causal():
    mamba, x = Mamba(16), torch.randn(2, 20, 16)
    changed = x.clone()
    changed[:, 12:] += 1
    torch.testing.assert_close(mamba(x)[:, :12], mamba(changed)[:, :12], rtol=0, atol=0)
    assert not torch.equal(mamba(x)[:, 12:], mamba(changed)[:, 12:])


def test_reversal_leaves_padding_behind_the_real_frames():
    x = torch.arange(10.0).view(2, 5, 1)
    reverse = reverse_frames(x, torch.tensor([5, 3]))
    assert reverse.squeeze(-1).tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9]]
    torch.testing.assert_close(reverse_frames(reverse, torch.tensor([5, 3])), x)


def block_by_its_figure(block, x):
    """Figure 3 of arXiv 2312.00752 module by module, as mamba_ssm.Mamba computes it."""
    u, z = block.in_proj(x).chunk(2, dim=-1)
    u = F.silu(block.conv1d(u.mT)[..., : x.shape[1]])
    dt, B, C = block.x_proj(u.mT).split([block.dt_rank, block.d_state, block.d_state], dim=-1)
    delta = F.softplus(block.dt_proj(dt)).mT
    A = -torch.exp(block.A_log)
    y = selective_scan(u, delta, A, B.mT.unsqueeze(1), C.mT.unsqueeze(1), block.D)
    return block.out_proj(y.mT * F.silu(z))


def test_mamba_is_its_figure():
    block, x = Mamba(16, d_state=5, d_conv=3, expand=3), torch.randn(2, 30, 16)
    torch.testing.assert_close(block(x), block_by_its_figure(block, x), rtol=1e-5, atol=1e-6)


def combined(block, forward, backward):
    if block.combine == "sum":
        return forward + backward
    mixed = torch.cat([forward, backward], dim=-1) @ block.combination.weight.T + block.combination.bias
    gate = torch.sigmoid(mixed)
    return mixed if block.combine == "concat" else gate * forward + (1 - gate) * backward


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_bimamba_combines_a_block_and_a_flipped_block(combine):
    block, x = BiMamba(d_model=16, combine=combine), torch.randn(2, 30, 16)
    weights = torch.randn(2, 30, 16)
    expected = combined(
        block,
        block_by_its_figure(block.forwards, x),
        block_by_its_figure(block.backwards, x.flip(1)).flip(1),
    )
    found = block(x, torch.tensor([30, 30]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    parameters = dict(block.named_parameters())
    gradients = torch.autograd.grad((expected * weights).sum(), parameters.values())
    (found * weights).sum().backward()
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_parameters_of_a_direction_are_those_of_mamba_ssm():
    for combine in COMBINATIONS:
        state = BiMamba(d_model=32, d_state=8, combine=combine).state_dict()
        expected = {f"{side}.{name}" for side in ("forwards", "backwards") for name in MAMBA_SSM}
        assert {name for name in state if not name.startswith("combination.")} == expected
        assert (len(state) == len(expected)) == (combine == "sum")


def test_an_unknown_combination_is_refused():
    with pytest.raises(ValueError, match="'product' must be one of sum, concat, gate"):
        BiMamba(d_model=16, combine="product")


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_padding_enters_neither_direction(combine):
    block, x = BiMamba(d_model=16, combine=combine), torch.randn(1, 12, 16)
    padded = torch.cat([x, torch.full((1, 7, 16), 1e3)], dim=1)
    alone = block(x, torch.tensor([12]))
    torch.testing.assert_close(block(padded, torch.tensor([12]))[:, :12], alone, rtol=1e-5, atol=1e-6)


def test_half_precision_stays_near_single_precision():
    block, x, lengths = BiMamba(d_model=16, combine="gate"), torch.randn(2, 50, 16), torch.tensor([50, 31])
    expected = block(x, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = block(x, lengths)
    found.float().square().sum().backward()
    assert (found.float() - expected).norm() < 0.05 * expected.norm()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())
