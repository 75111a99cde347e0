"""Grouped convolution in half precision: right on every CPU, and at the speed of matrix products on GPUs."""

import functools
import logging

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.kernels import kernels_serve

__all__ = ["PositionalConv1d", "grouped_conv1d", "half_is_sound"]

_log = logging.getLogger(__name__)


def grouped_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int) -> Tensor:
    """``torch.nn.functional.conv1d``, in float32 where half precision gives wrong numbers.

    Args:
        x: (batch, channels, samples), of the weight's type.
        weight: (out, channels / groups, taps).
        bias: (out,).
        padding: zeros at either end.
        groups: of channels.
    """
    on_cpu_in_half = x.device.type == "cpu" and x.dtype != torch.float32
    if on_cpu_in_half and not half_is_sound(x.dtype, tuple(weight.shape), groups):
        bias = None if bias is None else bias.float()
        return F.conv1d(x.float(), weight.float(), bias, padding=padding, groups=groups).to(x.dtype)
    return F.conv1d(x, weight, bias, padding=padding, groups=groups)


class PositionalConv1d(nn.Module):
    """Grouped convolution over frames with many taps, frozen: (batch, frames, channels) -> the same shape.

    On a GPU in half precision it is a matrix product for each group, of windows of frames with a matrix
    that gives ``span`` frames at a time and holds the taps once for each of them (a Toeplitz matrix). That is
    ``(span + taps - 1) / taps`` times the work, at the speed of large products: cuDNN's kernels took 1.3 to
    3 times as long at 64 channels a group, and up to 125 times at 48, 80 and 120 (torch 2.11, one H100).

    Args:
        conv: of ``nn.Conv1d``, as many channels out as in, stride 1.
        dtype: of weights and products.
    """

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().to(dtype))  # weight norm multiplied out
        self.bias = nn.Parameter(conv.bias.detach().to(dtype))
        self.groups, (self.padding,) = conv.groups, conv.padding
        channels, self.taps = self.weight.shape[1:]
        self.span = 16 if channels <= 80 else 8  # of 16 groups of 64 channels, 300 MB of matrices
        self._matrices = None

    def forward(self, x: Tensor) -> Tensor:
        if kernels_serve(x) and self.taps >= 2 * self.span:
            return self.by_matrices(x)
        y = grouped_conv1d(x.transpose(1, 2), self.weight, self.bias, self.padding, self.groups)
        return y[..., : x.shape[1]].transpose(1, 2)  # an even kernel gives a frame too many

    def by_matrices(self, x: Tensor) -> Tensor:
        """The same by matrix products; on any device, in any precision."""
        batch, frames, channels = x.shape
        width = channels // self.groups
        if self._matrices is None or self._matrices.device != x.device:
            with torch.inference_mode(False), torch.no_grad():
                self._matrices = self._toeplitz()
        count = -(-frames // self.span)
        behind = count * self.span + self.taps - 1 - self.padding - frames
        x = F.pad(x.unflatten(2, (self.groups, width)).permute(2, 0, 1, 3), (0, 0, self.padding, behind))
        windows = x.unfold(2, self.span + self.taps - 1, self.span).transpose(-1, -2)
        bias = self.bias.view(self.groups, 1, width).repeat(1, 1, self.span)
        y = torch.baddbmm(bias, windows.reshape(self.groups, batch * count, -1), self._matrices)
        y = y.view(self.groups, batch, count * self.span, width)[:, :, :frames]
        return y.permute(1, 2, 0, 3).flatten(2)

    def _toeplitz(self) -> Tensor:
        """(groups, frames of a window x channels in, span x channels out)."""
        taps = self.weight.unflatten(0, (self.groups, -1)).permute(0, 3, 2, 1)  # (groups, taps, in, out)
        groups, count, inputs, outputs = taps.shape
        matrices = taps.new_zeros(groups, self.span + count - 1, inputs, self.span, outputs)
        for frame in range(self.span):
            matrices[:, frame : frame + count, :, frame] = taps
        return matrices.flatten(3).flatten(1, 2)


@functools.cache
def half_is_sound(dtype: torch.dtype, shape: tuple[int, int, int], groups: int) -> bool:
    """Whether this CPU's grouped convolution of that type and shape is near that of float32; warns if not.

    On CPUs with AMX, oneDNN's bfloat16 convolution of groups of up to 8 channels was seen (torch 2.11) to be
    wrong by as much as its result. Each shape is tried once in a process.

    Args:
        dtype: bfloat16 or float16.
        shape: of the weights, (out, channels / groups, taps).
        groups: of channels.
    """
    out, channels, taps = shape
    # No random numbers: training draws from their generator.
    weight = torch.arange(out * channels * taps).float().mul(0.7).sin().view(shape).to(dtype)
    x = torch.arange(groups * channels * (taps + 63)).float().mul(0.3).cos().view(1, groups * channels, -1)
    x = x.to(dtype)
    with torch.autocast("cpu", enabled=False):
        expected = F.conv1d(x.float(), weight.float(), groups=groups)
        error = (F.conv1d(x, weight, groups=groups).float() - expected).norm() / expected.norm()
    sound = bool(error < 0.1)
    if not sound:
        _log.warning(
            f"this CPU's {str(dtype).removeprefix('torch.')} convolution of groups of "
            f"{channels} channels is wrong by {100 * error:.0f} % (oneDNN); float32 is used instead"
        )
    return sound
