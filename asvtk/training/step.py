"""Gradient of one training step, accumulated over micro-batches and summed over processes."""

import itertools
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.nn.cuda_graph import CaptureError, CudaGraphs
from asvtk.nn.grouped_convolution import half_is_sound
from asvtk.training import distributed

__all__ = ["GradientStep"]

_RECORDINGS = 4  # at most; another shape, such as the rest of an epoch, is computed without


class GradientStep:
    """Computes gradients; whether weights follow them is for the caller to say.

    All gradients lie in one piece of memory, with the loss and a request to stop behind them: several
    processes sum all of it in one call, and a recorded step finds them where it was recorded.

    Args:
        detector: on its device; its parameters that take gradients are those that do now. When others do,
            make another step: optimisers pass over parameters that were given no gradient.
        grad_clip: largest norm of the gradient; 0: no clipping.
        precision: of products: ``float32``, ``tf32`` (on GPUs, where convolutions are in TF32 in any case) or
            ``bfloat16``. Weights and gradients are float32.
        record: on a GPU, whether batches are computed by a CUDA graph, recorded at the first of their
            shape: one launch instead of hundreds. For systems that ask the host for nothing.
        fuse: whether ``torch.compile`` writes the kernels, for the same systems: a minute before the first
            step, and fewer passes over memory in each.
    """

    def __init__(
        self,
        detector: nn.Module,
        grad_clip: float,
        precision: str = "float32",
        record: bool = False,
        fuse: bool = False,
    ):
        self._detector, self._precision = detector, precision
        self._loss_of = detector
        if fuse:
            torch._dynamo.reset()  # the number of compilations of a code is limited, whatever they were of
            self._loss_of = torch.compile(detector, dynamic=False)
        self._grad_clip = grad_clip or torch.inf
        self._parameters = [parameter for parameter in detector.parameters() if parameter.requires_grad]
        self._sums = torch.zeros(
            sum(parameter.numel() for parameter in self._parameters) + 2, device=self._parameters[0].device
        )
        self._gradient, self._loss, self._stop = self._sums[:-2], self._sums[-2], self._sums[-1]
        for parameter in detector.parameters():
            parameter.grad = None
        begin = 0
        for parameter in self._parameters:
            parameter.grad = self._sums[begin : begin + parameter.numel()].view_as(parameter)
            begin += parameter.numel()
        self._graphs = CudaGraphs(_RECORDINGS) if record else None

    def __call__(self, micro_batches: list[tuple[Batch, Tensor]], batch: int, stop: bool = False):
        """Leave clipped gradients of the mean loss over a batch in the parameters.

        Args:
            micro_batches: this process's share of the batch, computed one after another.
            batch: utterances in the whole batch.
            stop: whether this process was asked to stop.

        Returns:
            the mean loss, the norm of its gradient before clipping, and whether any process was asked
            to stop: the same in all of them.

        Raises:
            AsvtkError: the step cannot be recorded, or not compiled.
        """
        self._sums.zero_()
        for inputs, bonafide in micro_batches:
            self._accumulate(inputs, bonafide, len(bonafide) / batch)
        if stop:
            self._stop.fill_(1.0)
        distributed.sum_in_place(self._sums)
        # In float64: on a CPU tens of millions of squares would lose half a per cent.
        norm = torch.linalg.vector_norm(self._gradient, dtype=torch.float64).float()
        self._gradient.mul_((self._grad_clip / (norm + 1e-6)).clamp(max=1.0))
        loss, norm, stop = torch.stack([self._loss, norm, self._stop]).tolist()  # the one wait for a GPU
        return loss, norm, bool(stop)

    def _accumulate(self, inputs: Batch, bonafide: Tensor, weight: float) -> None:
        arguments = *inputs, bonafide, weight
        # A run that goes on within an epoch, and records anew, computes what the undisturbed run does.
        kept = itertools.chain([self._sums], self._detector.buffers())
        try:
            if self._graphs is None:
                self._compute(*arguments)
            else:
                self._graphs(self._compute, *arguments, kept=kept)
        except CaptureError as error:
            raise AsvtkError(
                f"training.cuda_graph: a step of this system cannot be recorded ({error}); set it to false"
            ) from error
        except TorchDynamoException as error:
            reason = " ".join(str(error).split()[:40]) or "no reason given"
            raise AsvtkError(
                f"training.compile: torch.compile cannot compile this system here ({reason}); set it to false"
            ) from error

    def _compute(self, features, lengths, audio, samples, bonafide: Tensor, weight: float) -> None:
        with _products_in_tf32() if self._precision == "tf32" else nullcontext():
            with self._autocast():
                loss = self._loss_of(Batch(features, lengths, audio, samples), bonafide) * weight
            loss.backward()
        self._loss.add_(loss.detach())

    def _autocast(self):
        on_cpu, half = self._sums.device.type == "cpu", self._precision == "bfloat16"
        if not half or on_cpu and not half_is_sound(torch.bfloat16, (8, 1, 4), 8):  # as in Mamba
            return nullcontext()
        # Weights that autocast remembers as bfloat16 would be missing from a recording.
        return torch.autocast(self._sums.device.type, torch.bfloat16, cache_enabled=self._graphs is None)


@contextmanager
def _products_in_tf32():
    flags = torch.backends.cuda.matmul
    before, flags.allow_tf32 = flags.allow_tf32, True
    try:
        yield
    finally:
        flags.allow_tf32 = before
