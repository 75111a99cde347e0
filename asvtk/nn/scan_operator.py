"""Selective scan as one operator of an exported graph: ONNX's Scan, torch.export's ``scan``.

One step a frame, in a body of seven nodes. On ONNX Runtime that was three times as fast as segments side by
side (``scan_torch``) written out, at a fortieth of the nodes: docs/export.md.
"""

import torch
from torch import Tensor

__all__ = ["scan_operator"]


def scan_operator(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """``asvtk.nn.selective_scan.selective_scan`` without its options; same shapes. For export alone."""
    from torch._higher_order_ops.scan import scan

    groups, states = B.shape[1], B.shape[2]
    A = A.view(groups, -1, states).mT.contiguous()  # (groups, states, channels)

    def frames_first(x: Tensor) -> Tensor:
        """(batch, groups, numbers, length) -> (length, batch, groups, numbers)."""
        return x.permute(3, 0, 1, 2).contiguous()

    steps, inputs = (frames_first(x.unflatten(1, (groups, -1))).unsqueeze(-2) for x in (delta, u * delta))
    B, C = (frames_first(x).unsqueeze(-1) for x in (B, C))

    def step(state: Tensor, frame: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        dt, x, b, c = frame
        state = torch.exp(dt * A) * state + b * x
        return state, (c * state).sum(-2)

    _, y = scan(step, torch.zeros_like(inputs[0]) * A, (steps, inputs, B, C))
    return y.permute(1, 2, 3, 0).flatten(1, 2) + u * D.unsqueeze(-1)
