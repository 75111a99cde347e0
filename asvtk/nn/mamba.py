"""Mamba blocks, one-directional and bidirectional, with the parameters of ``mamba_ssm.Mamba``.

Source: Gu and Dao, arXiv 2312.00752, section 3.4 and figure 3.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.frames import reverse_frames
from asvtk.nn.selective_scan import selective_scan

__all__ = ["BiMamba", "Mamba"]


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
        self._initialise_steps()

    def _initialise_steps(self, shortest: float = 1e-3, longest: float = 0.1) -> None:
        """Start with step sizes spread evenly in logarithm (arXiv 2312.00752, section 3.6)."""
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        steps = torch.exp(torch.empty(self.d_inner).uniform_(math.log(shortest), math.log(longest)))
        with torch.no_grad():
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus of it gives the steps

    def inputs_of_scan(self, x: Tensor) -> tuple[Tensor, ...]:
        """From (batch, frames, d_model) to u, delta, B, C of the scan and the gate z, frames last."""
        u, z = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)
        u = F.silu(self.conv1d(u)[..., : x.shape[1]])
        steps, B, C = self.x_proj(u.transpose(1, 2)).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.softplus(self.dt_proj(steps)).transpose(1, 2)
        return u, delta, B.transpose(1, 2), C.transpose(1, 2), z

    def output_of_scan(self, y: Tensor, z: Tensor) -> Tensor:
        return self.out_proj((y * F.silu(z)).transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        u, delta, B, C, z = self.inputs_of_scan(x)
        y = selective_scan(u, delta, -torch.exp(self.A_log), B.unsqueeze(1), C.unsqueeze(1), self.D)
        return self.output_of_scan(y.to(z.dtype), z)


class BiMamba(nn.Module):
    """One Mamba per direction, summed; both run in a single scan.

    Args:
        settings: those of ``Mamba``, for each direction.
    """

    def __init__(self, **settings):
        super().__init__()
        self.forwards = Mamba(**settings)
        self.backwards = Mamba(**settings)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, d_model) and real frames per row -> the same shape.

        Padding stands behind the real frames in both directions, so that neither ever sees it
        before a real frame.
        """
        directions = (self.forwards, self.backwards)
        inputs = [
            direction.inputs_of_scan(sequence)
            for direction, sequence in zip(directions, (x, reverse_frames(x, lengths)), strict=True)
        ]
        u, delta, B, C, z = zip(*inputs, strict=True)
        y = selective_scan(
            torch.cat(u, dim=1),
            torch.cat(delta, dim=1),
            -torch.exp(torch.cat([direction.A_log for direction in directions])),
            torch.stack(B, dim=1),
            torch.stack(C, dim=1),
            torch.cat([direction.D for direction in directions]),
        )
        ahead, back = (
            direction.output_of_scan(part.to(gate.dtype), gate)
            for direction, part, gate in zip(directions, y.chunk(2, dim=1), z, strict=True)
        )
        return ahead + reverse_frames(back, lengths)
