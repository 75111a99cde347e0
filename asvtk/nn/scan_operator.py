"""Selective scan as one operator of an exported graph: ONNX's Scan, torch.export's ``scan``.

One step a frame, in a body of eight nodes. On ONNX Runtime that was three times as fast as segments side by
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

    steps, inputs = (frames_first(x.unflatten(1, (groups, -1))) for x in (delta, u * delta))

    def step(state: Tensor, frame: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        dt, x, b, c = frame
        state = torch.exp(dt.unsqueeze(-2) * A) * state + b.unsqueeze(-1) * x.unsqueeze(-2)
        return state, (c.unsqueeze(-1) * state).sum(-2)

    start = torch.zeros_like(inputs[0]).unsqueeze(-2) * A
    _, y = scan(step, start, (steps, inputs, frames_first(B), frames_first(C)))
    return y.permute(1, 2, 3, 0).flatten(1, 2) + u * D.unsqueeze(-1)
