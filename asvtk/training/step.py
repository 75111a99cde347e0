"""One step of training: losses and gradients of a batch, summed over its parts and over all processes."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.nn.grouped_convolution import half_is_sound
from asvtk.training import parallel

__all__ = ["GradientStep"]

_RECORDINGS = 4  # at most; each holds the activations of a batch


class GradientStep:
    """Computes gradients; whether weights follow them is for the caller to say.

    All gradients lie in one piece of memory, with the loss and a request to stop behind them: several
    processes sum all of it in one call, and a recorded step finds them where it was recorded.

    Args:
        detector: on its device; its parameters that take gradients are those that do now. When others do,
            make another step: optimisers pass over parameters that were given no gradient.
        clip: largest norm of the gradient; 0: no clipping.
        bfloat16: whether products are computed in bfloat16; weights and gradients stay float32.
        record: on a GPU, whether batches are computed by a CUDA graph, recorded at the first of their
            shape: one launch instead of hundreds. For systems that ask the host for nothing.
    """

    def __init__(self, detector: nn.Module, clip: float, bfloat16: bool = False, record: bool = False):
        self._detector, self._clip, self._bfloat16 = detector, clip or torch.inf, bfloat16
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
        self._records, self._recordings = record, {}

    def __call__(self, parts: list[tuple[Batch, Tensor]], batch: int, stop: bool = False):
        """Leave clipped gradients of the mean loss over a batch in the parameters.

        Args:
            parts: this process's share of the batch, in parts that are computed one after another.
            batch: utterances in the whole batch.
            stop: whether this process was asked to stop.

        Returns:
            the mean loss, the norm of its gradient before clipping, and whether any process was asked
            to stop: the same in all of them.

        Raises:
            AsvtkError: the step cannot be recorded.
        """
        self._sums.zero_()
        for inputs, bonafide in parts:
            self._accumulate(inputs, bonafide, len(bonafide) / batch)
        if stop:
            self._stop.fill_(1.0)
        parallel.sum_in_place(self._sums)
        # In float64: on a CPU tens of millions of squares would lose half a per cent.
        norm = torch.linalg.vector_norm(self._gradient, dtype=torch.float64).float()
        self._gradient.mul_((self._clip / (norm + 1e-6)).clamp(max=1.0))
        loss, norm, stop = torch.stack([self._loss, norm, self._stop]).tolist()  # the one wait for a GPU
        return loss, norm, bool(stop)

    def _accumulate(self, inputs: Batch, bonafide: Tensor, weight: float) -> None:
        if not self._records:
            return self._compute(inputs, bonafide, weight)
        shapes = tuple(x if x is None else x.shape for x in inputs), weight
        if shapes not in self._recordings:
            if len(self._recordings) == _RECORDINGS:  # such as the rest of an epoch
                return self._compute(inputs, bonafide, weight)
            self._recordings[shapes] = self._record(inputs, bonafide, weight)
        graph, places = self._recordings[shapes]
        for place, x in zip(places, (*inputs, bonafide), strict=True):
            if place is not None:
                place.copy_(x)
        graph.replay()

    def _compute(self, inputs: Batch, bonafide: Tensor, weight: float) -> None:
        with self._autocast():
            loss = self._detector(inputs, bonafide) * weight
        loss.backward()
        self._loss.add_(loss.detach())

    def _autocast(self):
        on_cpu = self._sums.device.type == "cpu"
        if not self._bfloat16 or on_cpu and not half_is_sound(torch.bfloat16, (8, 1, 4), 8):  # as in Mamba
            return nullcontext()
        # Weights that autocast remembers as bfloat16 would be missing from a recording.
        return torch.autocast(self._sums.device.type, torch.bfloat16, cache_enabled=not self._records)

    def _record(self, inputs: Batch, bonafide: Tensor, weight: float):
        """Record ``_compute``; nothing that training can see changes by it.

        So a run that goes on in the middle of an epoch, and records anew, computes what the undisturbed
        run does.
        """
        places = [x if x is None else x.clone() for x in (*inputs, bonafide)]
        arguments = Batch(*places[:-1]), places[-1], weight
        kept = [(x, x.clone()) for x in (self._sums, *self._detector.buffers())]
        random = torch.cuda.get_rng_state()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is allocated and tuned at a first call must not be recorded
            for _ in range(3):
                self._compute(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            # What other threads do meanwhile, such as the watchdog of several processes, is no part of it.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._compute(*arguments)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise AsvtkError(
                f"training.cuda_graph: a step of this system cannot be recorded ({reason}); set it to false"
            ) from error
        for x, before in kept:
            x.copy_(before)
        torch.cuda.set_rng_state(random)
        return graph, places
