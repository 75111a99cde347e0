"""Mamba blocks, one-directional and bidirectional, with the parameters of ``mamba_ssm.Mamba``.

Source: Gu and Dao, arXiv 2312.00752, section 3.4 and figure 3.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.frames import reverse_frames
from asvtk.nn.selective_scan import selective_scan

__all__ = ["COMBINATIONS", "BiMamba", "Mamba"]

#: how ``BiMamba`` joins its directions
COMBINATIONS = ("sum", "concat", "gate")


class Mamba(nn.Module):
    """Selective state-space block: (batch, frames, d_model) -> the same shape.

    Names, shapes and initialisation of the parameters are those of ``mamba_ssm.Mamba``, so that
    state dicts can be exchanged.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2):
        super().__init__()
        self.d_inner = expand * d_model
        self.d_state = d_state
        self.dt_rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        self._initialise_dt()

    def _initialise_dt(self, shortest: float = 1e-3, longest: float = 0.1) -> None:
        """Initial step sizes dt, spread evenly in logarithm (arXiv 2312.00752, section 3.6)."""
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        dt = torch.exp(torch.empty(self.d_inner).uniform_(math.log(shortest), math.log(longest)))
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus of it gives dt

    def forward(self, x: Tensor) -> Tensor:
        return _side_by_side([self], x.unsqueeze(0)).squeeze(0)


class BiMamba(nn.Module):
    """Bidirectional Mamba: one block per direction, run side by side and combined frame by frame.

    Args:
        combine: of forward f and backward b: ``sum``, f + b; ``concat``, a linear layer of [f, b]; ``gate``,
            g f + (1 - g) b with g = sigmoid(a linear layer of [f, b]), number by number.
        settings: those of ``Mamba``, for each direction.
    """

    def __init__(self, d_model: int, combine: str = "sum", **settings):
        super().__init__()
        if combine not in COMBINATIONS:
            raise ValueError(f"combine {combine!r} must be one of {', '.join(COMBINATIONS)}")
        self.combine = combine
        self.forwards = Mamba(d_model, **settings)
        self.backwards = Mamba(d_model, **settings)
        if combine != "sum":
            self.combination = nn.Linear(2 * d_model, d_model)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, d_model) and real frames per row -> the same shape.

        Padding stands behind the real frames in both directions, so that neither ever sees it
        before a real frame.
        """
        both = torch.stack([x, reverse_frames(x, lengths)])
        forward, backward = _side_by_side([self.forwards, self.backwards], both).unbind()
        backward = reverse_frames(backward, lengths)
        if self.combine == "sum":
            return forward + backward
        combination = self.combination(torch.cat([forward, backward], dim=-1))
        return (
            combination if self.combine == "concat" else torch.lerp(backward, forward, combination.sigmoid())
        )


def _side_by_side(blocks: list[Mamba], x: Tensor) -> Tensor:
    """Run blocks of the same sizes, each on its own sequences, with one operation for all of them.

    On a GPU the time of such a block is that of launching its operations: two blocks then cost little
    more than one. Features come before batch and frames inside, so that every product is of plain
    matrices and the scan finds frames beside each other without copies.

    Args:
        x: shape (blocks, batch, frames, d_model).

    Returns:
        the same shape.
    """
    count, batch, frames, _ = x.shape
    block = blocks[0]
    channels = count * block.d_inner

    def stacked(name: str) -> Tensor:
        return torch.stack([block.get_parameter(name) for block in blocks])

    def rows(features: Tensor) -> Tensor:
        """(blocks, channels, batch * frames) -> (batch, blocks * channels, frames)."""
        return features.view(channels, batch, frames).transpose(0, 1)

    columns = x.flatten(1, 2).mT
    weight_u, weight_z = stacked("in_proj.weight").chunk(2, dim=1)
    u, z = weight_u @ columns, weight_z @ columns
    taps = stacked("conv1d.weight").view(channels, 1, 1, -1)  # one row per utterance: a window of 1 by taps
    u = F.conv2d(
        u.view(1, channels, batch, frames),
        taps,
        stacked("conv1d.bias").flatten(),
        padding=(0, taps.shape[-1] - 1),
        groups=channels,
    )
    u = F.silu(u[..., :frames]).reshape(count, -1, batch * frames)
    projected = stacked("x_proj.weight") @ u
    dt, B, C = projected.split([block.dt_rank, block.d_state, block.d_state], dim=1)
    y = selective_scan(
        rows(u),
        rows(stacked("dt_proj.weight") @ dt),
        -torch.exp(stacked("A_log").flatten(0, 1)),
        *(weights.unflatten(-1, (batch, frames)).permute(2, 0, 1, 3) for weights in (B, C)),
        stacked("D").flatten(),
        z=rows(z),
        delta_bias=stacked("dt_proj.bias").flatten(),
        delta_softplus=True,
    )
    y = y.transpose(0, 1).reshape(count, -1, batch * frames)
    return (y.mT @ stacked("out_proj.weight").mT).view_as(x)
