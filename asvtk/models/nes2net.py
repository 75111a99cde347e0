"""Nes2Net-X: nested Res2Net on features as wide as they come.

The numbers of a frame are split into groups; one after another, each group is added to what the group before
became and goes through a Res2Net block of its own, which splits it again. No layer makes frames narrower
first. Then batch norm, and the mean over time.

Source: Liu et al., "Nes2Net: a lightweight nested architecture for foundation model driven speech
anti-spoofing", IEEE TIFS 20, 2025 (arXiv 2504.05657); the blocks are after Gao et al., "Res2Net: a new
multi-scale backbone architecture", TPAMI 2021 (arXiv 1904.01169).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.io.errors import AsvtkError
from asvtk.models.backend_config import Nes2NetConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.nn.frames import frame_mask
from asvtk.nn.masked_norm import MaskedBatchNorm
from asvtk.nn.pooling import GlobalMvn, build_layer_sum

__all__ = ["Nes2Net", "Nes2NetConfig"]


class Nes2Net(BackEnd):
    """Nes2Net-X back-end, for features of ``layers`` layers with ``d_in`` numbers a frame.

    Of several layers it takes a learned weighted sum. ``groups`` must divide ``d_in``, and give each group
    ``scale`` numbers or more.

    Raises:
        AsvtkError: they cannot.
    """

    Config = Nes2NetConfig

    def __init__(self, config: Nes2NetConfig, layers: int, d_in: int):
        super().__init__()
        width = d_in // config.groups
        if d_in % config.groups or width < max(config.scale, config.squeeze):
            raise AsvtkError(
                f"model nes2net: frames of {d_in} numbers; groups ({config.groups}) must divide that into "
                f"parts of {max(config.scale, config.squeeze)} or more (scale, squeeze)"
            )
        self.config = config
        self.d_embedding = d_in
        self.mvn = GlobalMvn(layers, d_in)
        self.layer_sum = build_layer_sum(layers)
        self.blocks = nn.ModuleList(Res2NetBlock(width, config) for _ in range(config.groups - 1))
        # What the last block gives is normalised by the norm of all: one of its own would be idle.
        self.norms = nn.ModuleList(MaskedBatchNorm(width) for _ in range(config.groups - 2))
        self.norm = MaskedBatchNorm(d_in)

    def forward(self, batch: Batch) -> Output:
        x = self.layer_sum(self.mvn(batch.features))
        mask = frame_mask(batch.lengths, x.shape[1])
        # Convolutions see zeros beyond an utterance, alone and in a batch.
        *groups, last = (x * mask.unsqueeze(2)).transpose(1, 2).chunk(self.config.groups, dim=1)
        became, outputs = 0, []
        for number, (group, block) in enumerate(zip(groups, self.blocks, strict=True)):
            became = F.relu(block(became + group, mask))
            if number < len(self.norms):
                became = self.norms[number](became, mask)
            outputs.append(became)
        x = F.relu(self.norm(torch.cat([*outputs, last], dim=1), mask)) * mask.unsqueeze(1)
        embedding = x.sum(2) / batch.lengths.unsqueeze(1)
        return Output(embedding, embedding.new_zeros(()))


class Res2NetBlock(nn.Module):
    """Res2Net block that keeps the outputs of all branches side by side, and learns how to sum them.

    Each group's convolution reads the group and, as further columns, all that the groups before became; the
    output of the group is a learned weighted sum of its columns. Then squeeze and excitation, and a shortcut.
    """

    def __init__(self, channels: int, config: Nes2NetConfig):
        super().__init__()
        width, branches = channels // config.scale, config.scale - 1
        self.scale = config.scale
        self.expand = nn.Conv1d(channels, width * config.scale, 1)
        self.expand_norm = MaskedBatchNorm(width * config.scale)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, (3, 1), padding=(config.dilation, 0), dilation=(config.dilation, 1))
            for _ in range(branches)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(width) for _ in range(branches))
        self.sums = nn.ParameterList(
            torch.full((columns,), 1 / columns) for columns in range(2, branches + 2)
        )
        self.merge = nn.Conv1d(width * config.scale, channels, 1)
        self.merge_norm = MaskedBatchNorm(channels)
        hidden = channels // config.squeeze
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, channels, frames), zero at padding, and the mask of real frames -> the same shape."""
        *groups, last = self.expand_norm(F.relu(self.expand(x)), mask).chunk(self.scale, dim=1)
        columns, outputs = last.unsqueeze(3), []
        for group, convolution, norm, weights in zip(
            groups, self.convolutions, self.norms, self.sums, strict=True
        ):
            columns = F.relu(convolution(torch.cat([columns, group.unsqueeze(3)], dim=3)))
            columns = _normalise_columns(norm, columns, mask)
            outputs.append(columns @ weights)
        y = self.merge_norm(F.relu(self.merge(torch.cat([*outputs, last], dim=1))), mask)
        means = y.sum(2) / mask.sum(1, keepdim=True)
        return y * self.gate(means).unsqueeze(2) + x


def _normalise_columns(norm: MaskedBatchNorm, x: Tensor, mask: Tensor) -> Tensor:
    """Batch norm of (batch, channels, frames, columns), the columns of a frame as so many frames."""
    return norm(x.flatten(2), mask.repeat_interleave(x.shape[3], 1)).view_as(x)
