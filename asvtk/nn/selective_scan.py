"""The selective state-space recurrence of Mamba in PyTorch, safe in float32.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t
    y_t = <C_t, h_t> + D u_t

with A < 0, so that every factor lies in (0, 1]: nothing can overflow, however long the sequence or
large the step. (Formulations that divide by a cumulative product do overflow; that is where
hand-written scans get their NaN from.) The gradient is written out: it is a recurrence of the same
kind, run backwards, and keeps one tensor of states where autograd would keep a dozen.

Source: Gu and Dao, "Mamba: Linear-time sequence modeling with selective state spaces", 2023,
arXiv 2312.00752, algorithm 2. Names and shapes follow the mamba_ssm package.
"""

import torch
from torch import Tensor

__all__ = ["selective_scan"]


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run the recurrence along the last axis.

    Channels may come in groups that share B and C; the two directions of a bidirectional block are
    two groups.

    Args:
        u: input, shape (batch, channels, length).
        delta: step sizes, positive, shape of ``u``.
        A: decay rates, negative, shape (channels, states).
        B, C: input and output weights, shape (batch, groups, states, length).
        D: skip weights, shape (channels,).

    Returns:
        y, shape of ``u``, float32.
    """
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    # Time first: each step of the recurrence then reads one contiguous block.
    u, delta = (
        x.float().view(batch, groups, -1, length).permute(3, 0, 1, 2).contiguous() for x in (u, delta)
    )
    B, C = (x.float().permute(3, 0, 1, 2).contiguous() for x in (B, C))
    A = A.float().view(groups, -1, states).transpose(1, 2).contiguous()
    y = _Scan.apply(u * delta, delta, A, B, C)
    y = y + u * D.float().view(groups, -1)
    return y.permute(1, 2, 3, 0).reshape(batch, channels, length)


class _Scan(torch.autograd.Function):
    """The recurrence without the skip.

    x = delta * u and delta: (length, batch, groups, channels); B, C: (length, batch, groups, states);
    A: (groups, states, channels). Channels come last throughout: long rows are what vector units like.

    All that does not recur is computed for a chunk of frames at once, so that only one product is
    left for each frame. Only the state at the start of each chunk is kept for the backward pass,
    which computes the others again: they would fill hundreds of megabytes.
    """

    @staticmethod
    def forward(ctx, x, delta, A, B, C):
        y = torch.empty_like(x)
        state = x.new_zeros(x.shape[1], *A.shape)
        starts = []
        for chunk in _chunks(state.numel(), len(x)):
            starts.append(state)
            _, states = _states(x[chunk], delta[chunk], A, B[chunk], state)
            y[chunk] = (C[chunk].unsqueeze(-2) @ states).squeeze(-2)
            state = states[-1].clone()
        ctx.save_for_backward(x, delta, A, B, C, *starts)
        return y

    @staticmethod
    def backward(ctx, grad_y):
        x, delta, A, B, C, *starts = ctx.saved_tensors
        grad_x, grad_delta = torch.empty_like(x), torch.empty_like(delta)
        grad_B, grad_C = torch.empty_like(B), torch.empty_like(C)
        grad_A = torch.zeros_like(A)
        from_later = torch.zeros_like(starts[0])
        chunks = list(_chunks(starts[0].numel(), len(x)))
        for chunk, start in zip(reversed(chunks), reversed(starts), strict=True):
            decay, states = _states(x[chunk], delta[chunk], A, B[chunk], start)
            grad_C[chunk] = (states @ grad_y[chunk].unsqueeze(-1)).squeeze(-1)
            grad_states = grad_y[chunk].unsqueeze(-2) * C[chunk].unsqueeze(-1)
            for t in reversed(range(len(states))):
                grad_states[t] += from_later
                from_later = decay[t] * grad_states[t]
            grad_B[chunk] = (grad_states @ x[chunk].unsqueeze(-1)).squeeze(-1)
            grad_x[chunk] = (B[chunk].unsqueeze(-2) @ grad_states).squeeze(-2)
            grad_exponent = grad_states.mul_(decay)  # of delta * A
            grad_exponent[0] *= start
            grad_exponent[1:] *= states[:-1]
            grad_delta[chunk] = (grad_exponent * A).sum(-2)
            grad_A += grad_exponent.mul_(delta[chunk].unsqueeze(-2)).sum((0, 1))
        return grad_x, grad_delta, grad_A, grad_B, grad_C


def _chunks(numbers_per_frame: int, length: int) -> list[slice]:
    """Chunks whose tensors stay within a processor's cache, a quarter of a million numbers each."""
    size = max(1, 2**18 // numbers_per_frame)
    return [slice(begin, min(begin + size, length)) for begin in range(0, length, size)]


def _states(x, delta, A, B, state):
    """Decays and states of a chunk that begins after ``state``, each (frames, *state.shape)."""
    decay = (delta.unsqueeze(-2) * A).exp_()
    states = x.unsqueeze(-2) * B.unsqueeze(-1)
    for t in range(len(states)):
        state = states[t].addcmul_(decay[t], state)
    return decay, states
