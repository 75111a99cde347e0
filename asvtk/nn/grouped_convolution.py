"""Grouped convolution in half precision, where the processor gets it right."""

import functools
import logging

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["grouped_conv1d", "half_is_sound"]

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
