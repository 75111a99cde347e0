"""What the generators are built of."""

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SLOPE", "FrameBlock", "ResidualConvolutions"]

SLOPE = 0.1  # of leaky ReLUs


class FrameBlock(nn.Module):
    """x + a depthwise convolution over time, then two linear layers on each frame."""

    def __init__(self, width: int):
        super().__init__()
        self.over_time = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.over_time(x).transpose(1, 2))
        return x + self.contract(F.gelu(self.expand(y))).transpose(1, 2)


class ResidualConvolutions(nn.Module):
    """x + convolution, twice, the second one with wider steps."""

    def __init__(self, channels: int, taps: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, channels, taps, dilation=dilation, padding=dilation * (taps // 2))
            for dilation in (1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = x + convolution(F.leaky_relu(x, SLOPE))
        return x
