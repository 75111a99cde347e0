"""Selective scan in PyTorch: segments side by side instead of one long sequence, safe in float32.

The frames are cut into segments. All segments are walked at once, first from a state of zero, which
tells what each adds to its end; the true states between segments follow from these ends; then all are
walked again, each from its true start. For T frames that is some 2 sqrt(2 T) steps on long vectors
instead of T on short ones.

Every factor is exp(delta A) with A < 0 and lies in (0, 1]: nothing can overflow, however long the
sequence or large the step. (Formulations that divide by a cumulative product do overflow; that is
where hand-written scans get their NaN from.)

The gradient is written out. It is a recurrence of the same kind, run backwards; only the states
between segments are kept for it, and the others are computed again, a chunk of segments at a time.
Nothing here makes the host wait for a GPU, so that a CUDA graph can hold it.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["scan_torch"]


def scan_torch(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """``asvtk.nn.selective_scan.selective_scan`` without its options; same shapes.

    Computes in float32, or in float64 if ``u`` has it, and returns that type.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    return _Scan.apply(*(x.to(dtype) for x in (u, delta, A, B, C, D)))


class _Plan(NamedTuple):
    """How the frames are cut into segments, and those into chunks."""

    segment: int  # frames of a segment
    chunk: int  # frames of a chunk, whole segments
    frames: int  # of all segments; those behind the last real one are idle: no step, no input

    def chunks(self) -> list[tuple[slice, slice]]:
        """The frames and the segments of each chunk."""
        return [
            (slice(start, stop), slice(start // self.segment, stop // self.segment))
            for start in range(0, self.frames, self.chunk)
            for stop in [min(start + self.chunk, self.frames)]
        ]

    def segmented(self, x: Tensor) -> Tensor:
        """(frames, ...) -> (segments, frames of a segment, ...)."""
        return x.unflatten(0, (-1, self.segment))


def _plan(length: int, numbers_per_frame: int, device: torch.device) -> _Plan:
    """Few steps that are wide enough, and chunks that are small enough."""
    if device.type == "cpu":
        # A chunk's tensors stay within the cache. A frame of a training batch fills the processor by
        # itself, and segments have their price: they are walked twice.
        widest, largest = 2**15, 2**19
    else:
        # Every step is a launch, whose time hardly depends on its width. Half a gigabyte a tensor.
        widest, largest = 2**27, 2**27
    chunks = -(-length // max(largest // numbers_per_frame, 1))
    chunk = -(-length // chunks)
    segments = min(max(widest // numbers_per_frame, 1), round(math.sqrt(2 * chunk)))
    segment = -(-chunk // segments)
    return _Plan(segment, -(-chunk // segment) * segment, -(-length // segment) * segment)


class _Scan(torch.autograd.Function):
    """Inside, frames come first and channels last: (frames, batch, groups, [states,] channels).

    One idle frame more than the plan's stands at the end, so that every frame has a next one.
    """

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D):
        length, groups, states = u.shape[2], B.shape[1], B.shape[2]
        plan = _plan(length, u.shape[0] * A.numel(), u.device)
        u, delta = (_frames_first(x.unflatten(1, (groups, -1)), plan.frames + 1) for x in (u, delta))
        B, C = (_frames_first(x, plan.frames + 1) for x in (B, C))
        A, D = A.view(groups, -1, states).mT.contiguous(), D.view(groups, -1)
        x, y = u * delta, torch.empty_like(u)
        state = u.new_zeros(u.shape[1], *A.shape)
        starts = u.new_empty(plan.frames // plan.segment, *state.shape)
        decay_buffer, states_buffer = u.new_empty(2, plan.chunk, *state.shape)
        for chunk, segments in plan.chunks():
            decay = _decay(delta[chunk], A, decay_buffer)
            states = _outer(B[chunk], x[chunk], states_buffer)
            steps = plan.segmented(states).unbind(1), plan.segmented(decay).unbind(1)
            totals = _decay(plan.segmented(delta[chunk]).sum(1), A)
            _walk(*steps, _starts(*steps, totals, state, starts[segments]))
            _product(C[chunk], states, out=y[chunk])
            state = states[-1].clone()
        ctx.plan, ctx.length = plan, length
        ctx.save_for_backward(u, delta, A, B, C, D, starts)
        return _frames_last(y.addcmul_(u, D), length).flatten(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        plan, length = ctx.plan, ctx.length
        u, delta, A, B, C, D, starts = ctx.saved_tensors
        grad_y = _frames_first(grad_y.unflatten(1, (len(A), -1)), len(u))
        x = u * delta
        grad_x, grad_delta, grad_B, grad_C = (torch.empty_like(y) for y in (x, delta, B, C))
        grad_A, grad_state = torch.zeros_like(A), torch.zeros_like(starts[0])
        decay_buffer = u.new_empty(plan.chunk + 1, *grad_state.shape)
        states_buffer, grad_buffer = u.new_empty(2, plan.chunk, *grad_state.shape)
        for chunk, segments in reversed(plan.chunks()):
            following = slice(chunk.start + 1, chunk.stop + 1)
            decay = _decay(delta[chunk.start : chunk.stop + 1], A, decay_buffer)
            decay, next_decay = decay[:-1], decay[1:]
            states = _outer(B[chunk], x[chunk], states_buffer)
            _walk(plan.segmented(states).unbind(1), plan.segmented(decay).unbind(1), starts[segments])
            _product(grad_y[chunk], states.mT, out=grad_C[chunk])

            grad_states = _outer(C[chunk], grad_y[chunk], grad_buffer)
            steps = [plan.segmented(part).unbind(1)[::-1] for part in (grad_states, next_decay)]
            totals = _decay(plan.segmented(delta[following]).sum(1), A)
            _walk(*steps, _starts(*steps, totals, grad_state, torch.empty_like(totals), backwards=True))
            grad_state = grad_states[0].clone()
            _product(x[chunk], grad_states.mT, out=grad_B[chunk])
            _product(B[chunk], grad_states, out=grad_x[chunk])

            grad_exponent = grad_states.mul_(decay)  # of delta * A
            by_segment = plan.segmented(grad_exponent)
            by_segment[:, 0].mul_(starts[segments])
            by_segment[:, 1:].mul_(plan.segmented(states)[:, :-1])
            torch.sum(torch.mul(grad_exponent, A, out=states), -2, out=grad_delta[chunk])
            grad_A += grad_exponent.mul_(delta[chunk].unsqueeze(-2)).sum((0, 1))
        grad_D = (grad_y * u).sum((0, 1)).flatten()
        grad_delta.addcmul_(grad_x, u)
        grad_u = grad_x.mul_(delta).addcmul_(grad_y, D)
        grad_u, grad_delta, grad_B, grad_C = (
            _frames_last(grad, length) for grad in (grad_u, grad_delta, grad_B, grad_C)
        )
        return grad_u.flatten(1, 2), grad_delta.flatten(1, 2), grad_A.mT.flatten(0, 1), grad_B, grad_C, grad_D


def _frames_first(x: Tensor, frames: int) -> Tensor:
    """(batch, groups, numbers, length) -> (frames, batch, groups, numbers), with zeros behind ``length``."""
    length = x.shape[-1]
    y = x.new_empty(frames, *x.shape[:-1])
    y[:length] = x.movedim(-1, 0)
    y[length:] = 0
    return y


def _frames_last(x: Tensor, length: int) -> Tensor:
    return x[:length].movedim(0, -1).contiguous()


def _decay(delta: Tensor, A: Tensor, buffer: Tensor | None = None) -> Tensor:
    """exp(delta A), (..., channels) and (groups, states, channels) -> (..., states, channels)."""
    out = None if buffer is None else buffer[: len(delta)]
    return torch.mul(delta.unsqueeze(-2), A, out=out).exp_()


def _outer(a: Tensor, b: Tensor, buffer: Tensor) -> Tensor:
    """(..., states) and (..., channels) -> (..., states, channels)."""
    return torch.mul(a.unsqueeze(-1), b.unsqueeze(-2), out=buffer[: len(a)])


def _product(vectors: Tensor, matrices: Tensor, out: Tensor) -> None:
    """Multiply each vector by its matrix. Autocast leaves products that have their ``out`` in float32."""
    torch.bmm(
        vectors.unsqueeze(-2).flatten(0, 2), matrices.flatten(0, 2), out=out.unsqueeze(-2).flatten(0, 2)
    )


def _starts(terms, factors, totals: Tensor, state: Tensor, starts: Tensor, backwards: bool = False) -> Tensor:
    """Find the state before each segment.

    Args:
        terms, factors: of the recurrence state <- factor * state + term, in order of the steps; each of
            shape (segments, *state.shape).
        totals: product of a segment's factors, (segments, *state.shape).
        state: before the first segment.
        starts: filled with the result, (segments, *state.shape).
        backwards: the last segment comes first.
    """
    order = range(len(starts))[:: -1 if backwards else 1]
    starts[order[0]] = state
    if len(order) > 1:
        ends = terms[0].clone()
        for term, factor in zip(terms[1:], factors[1:], strict=True):
            torch.addcmul(term, factor, ends, out=ends)
        for now, later in zip(order[:-1], order[1:], strict=True):
            torch.addcmul(ends[now], totals[now], starts[now], out=starts[later])
    return starts


def _walk(terms, factors, state: Tensor) -> None:
    """Turn the terms into states, in place, from the state before each segment."""
    for term, factor in zip(terms, factors, strict=True):
        state = term.addcmul_(factor, state)
