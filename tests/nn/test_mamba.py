"""Mamba and BiMamba: names, causality, and padding that reaches nobody."""

import pytest
import torch

from asvtk.nn.frames import reverse_frames
from asvtk.nn.mamba import BiMamba, Mamba

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


def test_initial_steps_lie_between_a_thousandth_and_a_tenth():
    steps = torch.nn.functional.softplus(Mamba(64).dt_proj.bias)
    assert steps.min() > 0.00099 and steps.max() < 0.1001


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


def test_bimamba_is_the_sum_of_a_block_and_a_flipped_block():
    block, x = BiMamba(d_model=16), torch.randn(2, 30, 16)
    expected = block.forwards(x) + block.backwards(x.flip(1)).flip(1)
    torch.testing.assert_close(block(x, torch.tensor([30, 30])), expected, rtol=1e-5, atol=1e-6)


def test_padding_enters_neither_direction():
    block, x = BiMamba(d_model=16), torch.randn(1, 12, 16)
    padded = torch.cat([x, torch.full((1, 7, 16), 1e3)], dim=1)
    alone = block(x, torch.tensor([12]))
    torch.testing.assert_close(block(padded, torch.tensor([12]))[:, :12], alone, rtol=1e-5, atol=1e-6)
