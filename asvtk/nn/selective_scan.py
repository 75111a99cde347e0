"""Selective state-space recurrence of Mamba, by the fastest backend that runs here.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t
    y_t = <C_t, h_t> + D u_t

with A < 0. Backends: ``mamba_ssm``, that package's CUDA kernel; ``torch``, ours, which runs
everywhere. ``auto`` takes the first where it runs, else the second. Exported graphs have a third form
(``scan_operator``).

Source: Gu and Dao, "Mamba: Linear-time sequence modeling with selective state spaces", 2023,
arXiv 2312.00752, algorithm 2. Names and shapes follow the mamba_ssm package.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from asvtk.io.errors import AsvtkError
from asvtk.nn.exporting import is_exporting
from asvtk.nn.scan_mamba_ssm import scan_mamba_ssm, why_not_mamba_ssm
from asvtk.nn.scan_operator import scan_operator
from asvtk.nn.scan_torch import scan_torch

__all__ = ["BACKENDS", "active_backend", "select_backend", "selective_scan"]

BACKENDS = ("auto", "mamba_ssm", "torch")
_selected = "auto"


def select_backend(name: str) -> None:
    """Choose the backend of all scans of this process: one of ``BACKENDS``.

    Raises:
        AsvtkError: ``mamba_ssm`` cannot run on this machine, or there is no such backend.
    """
    global _selected
    if name not in BACKENDS:
        raise AsvtkError(f"scan backend {name!r}: expected one of {', '.join(BACKENDS)}")
    if name == "mamba_ssm":
        _require_mamba_ssm(torch.device("cuda"))
    _selected = name


def active_backend(device: torch.device | str) -> str:
    """The backend that scans tensors on ``device``: ``mamba_ssm`` or ``torch``.

    Raises:
        AsvtkError: ``mamba_ssm`` was selected and cannot run there.
    """
    device = torch.device(device)
    if _selected == "mamba_ssm":
        _require_mamba_ssm(device)
    if _selected == "auto":
        return "mamba_ssm" if why_not_mamba_ssm(device) is None else "torch"
    return _selected


def _require_mamba_ssm(device: torch.device) -> None:
    reason = why_not_mamba_ssm(device)
    if reason is not None:
        raise AsvtkError(
            f"scan backend mamba_ssm: {reason}; tools/install_mamba.sh builds it, and the backends "
            "torch and auto need nothing"
        )


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """Run the recurrence along the last axis.

    Channels may come in groups that share B and C; the two directions of a bidirectional block are
    two groups. Any strides will do; every backend likes frames beside each other.

    Args:
        u: input, shape (batch, channels, length).
        delta: step sizes, shape of ``u``; positive, after the bias and softplus below.
        A: decay rates, negative, shape (channels, states).
        B, C: input and output weights, shape (batch, groups, states, length).
        D: skip weights, shape (channels,).
        z: a gate, shape of ``u``: y is multiplied by silu(z).
        delta_bias: added to the step sizes, shape (channels,).
        delta_softplus: softplus makes the step sizes positive.

    Returns:
        y, shape and type of ``u``. Computed in float32; the torch backend, which float64 always gets,
        computes float64 in float64.

    Raises:
        AsvtkError: ``mamba_ssm`` was selected and cannot run where the tensors are.
    """
    exported = is_exporting()
    if u.dtype != torch.float64 and not exported and active_backend(u.device) == "mamba_ssm":
        return scan_mamba_ssm(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    if delta_bias is not None:
        delta = delta + delta_bias.unsqueeze(-1)
    if delta_softplus:
        delta = F.softplus(delta)
    y = (scan_operator if exported else scan_torch)(u, delta, A, B, C, D).to(u.dtype)
    return y if z is None else y * F.silu(z)
