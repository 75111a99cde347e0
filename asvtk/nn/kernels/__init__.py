"""GPU kernels for inference in half precision, in Triton; each has a plain twin that it is tested against.

Triton comes with torch's CUDA builds. Where it is missing, or gradients are wanted, or precision is
float32, the plain twins run.
"""

import functools
import importlib.util

import torch
from torch import Tensor

__all__ = ["kernels_serve"]


def kernels_serve(x: Tensor) -> bool:
    """Whether the kernels are to be used for a tensor of this kind, now."""
    half = x.dtype in (torch.bfloat16, torch.float16)
    return x.is_cuda and half and not torch.is_grad_enabled() and _triton_is_installed()


@functools.cache
def _triton_is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None
