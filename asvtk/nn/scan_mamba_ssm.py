"""Selective scan by the CUDA kernel of the ``mamba_ssm`` package, where it is installed and runs.

Only the compiled module ``selective_scan_cuda`` is imported, and only when it is needed: the package
itself imports Triton kernels of other models, any of which may fail for reasons of its own.
"""

import functools
import importlib
import importlib.util

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["scan_mamba_ssm", "why_not_mamba_ssm"]

MODULE = "selective_scan_cuda"


@functools.cache
def why_not_mamba_ssm(device: torch.device) -> str | None:
    """Why the kernel cannot run on ``device``, in a few words; None if it can. A small scan is tried."""
    if device.type != "cuda":
        return f"its kernel needs a CUDA device, not {device.type}"
    if not torch.cuda.is_available():
        return "no CUDA device is available"
    if importlib.util.find_spec(MODULE) is None:
        if importlib.util.find_spec("mamba_ssm") is None:
            return "the package mamba_ssm is not installed"
        return f"the package mamba_ssm was installed without its compiled kernel {MODULE}"
    try:
        sequence, weights = torch.ones(1, 1, 4, device=device), torch.ones(1, 1, 1, 4, device=device)
        decay, skip = -torch.ones(1, 1, device=device), torch.ones(1, device=device)
        y = scan_mamba_ssm(sequence, sequence, decay, weights, weights, skip, sequence, skip, True)
        if not y.isfinite().all():
            return f"{MODULE} returns values that are not finite"
    except (ImportError, OSError, RuntimeError, TypeError) as error:
        # Built for another torch, another processor generation, or with another interface.
        return f"{MODULE} does not run here ({str(error).strip().splitlines()[0]})"
    return None


def scan_mamba_ssm(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """``asvtk.nn.selective_scan.selective_scan``; ``u`` at most float32.

    The sums over frames of its gradient are atomic: they vary in their last digits from run to run.
    """
    sequences = (None if x is None else _rows(x.to(u.dtype)) for x in (u, delta, B, C, z))
    u, delta, B, C, z = sequences
    A, D = A.float(), D.float()
    return _Scan.apply(
        u, delta, A, B, C, D, z, None if delta_bias is None else delta_bias.float(), delta_softplus
    )


def _rows(x: Tensor) -> Tensor:
    """The kernel reads any strides but wants neighbouring frames beside each other."""
    return x if x.stride(-1) == 1 else x.contiguous()


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        kernel = importlib.import_module(MODULE)
        ctx.delta_softplus = delta_softplus
        # Also returns states for the backward pass and, given a gate, the gated output behind them.
        y, states, *gated = kernel.fwd(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, states, y if gated else None)
        return gated[0] if gated else y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        u, delta, A, B, C, D, z, delta_bias, states, y = ctx.saved_tensors
        kernel = importlib.import_module(MODULE)
        grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, *rest = kernel.bwd(
            *(u, delta, A, B, C, D, z, delta_bias, _rows(grad), states, y),
            None,  # where to put the gradient of z: a new tensor
            ctx.delta_softplus,
            False,  # do not compute the gated output again
        )
        grad_bias = None if delta_bias is None else grad_bias
        return grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, rest[0] if rest else None, grad_bias, None
