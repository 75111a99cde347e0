"""Grouped convolution in half precision: right on every CPU, and without slow kernels on GPUs."""

import functools
import logging

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["grouped_conv1d", "half_is_sound"]

_log = logging.getLogger(__name__)

#: channels a group, for which cuDNN has a fast kernel of half precision with many taps
_FAST = 64
#: frames of a batch from which it has one for more channels, too
_MANY = 9600


def grouped_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int) -> Tensor:
    """``torch.nn.functional.conv1d``, in float32 where half precision gives wrong numbers.

    Position embeddings of Base models have groups of 48 channels, those of XLS-R 1B and 2B of 80 and 120. On
    a GPU they are computed in blocks of 64 by 64 channels, filled up with zeros: in their own shapes, for the
    wider ones in batches of few frames, cuDNN's kernels took up to 20 times as long (9.19 on an H100).

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
    inputs, taps = weight.shape[1:]
    in_half_on_gpu = x.device.type == "cuda" and x.dtype != torch.float32
    few = inputs < _FAST or x.shape[0] * x.shape[2] < _MANY
    if in_half_on_gpu and taps >= _FAST and inputs > _FAST // 2 and inputs != _FAST and few:
        return conv1d_in_blocks(x, weight, bias, padding, groups)
    return F.conv1d(x, weight, bias, padding=padding, groups=groups)


def conv1d_in_blocks(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int) -> Tensor:
    """The same, each group as blocks of 64 channels that come in by 64 that go out; their sum is of float32.

    Arguments as for ``grouped_conv1d``; groups have as many channels that go out as come in.
    """
    width = weight.shape[1]
    blocks = -(-width // _FAST)
    missing = blocks * _FAST - width
    x = F.pad(x.unflatten(1, (groups, width)), (0, 0, 0, missing))
    x = x.unflatten(2, (blocks, 1, _FAST)).expand(-1, -1, -1, blocks, -1, -1)
    weight = F.pad(weight.unflatten(0, (groups, width)), (0, 0, 0, missing, 0, missing))
    weight = weight.unflatten(2, (blocks, _FAST)).unflatten(
        1, (blocks, _FAST)
    )  # groups, out, 64, in, 64, taps
    weight = weight.permute(0, 3, 1, 2, 4, 5).flatten(0, 3)
    y = F.conv1d(x.flatten(1, 4), weight, padding=padding, groups=groups * blocks**2)
    y = (
        y.unflatten(1, (groups, blocks, blocks * _FAST))
        .sum(2, dtype=torch.float32)[:, :, :width]
        .flatten(1, 2)
    )
    return (y if bias is None else y + bias.unsqueeze(1)).to(weight.dtype)


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
