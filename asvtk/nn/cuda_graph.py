"""CUDA-graph recorder: the GPU kernels of a function as one launch, for shapes that come again and again.

Starting hundreds of kernels one by one from Python takes milliseconds and holds up every other thread of the
process; replaying a recording is one call.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["CaptureError", "CudaGraphs"]

_WARM_UPS = 3  # calls before a recording: what is allocated and tuned at a first one must not be recorded


class CaptureError(RuntimeError):
    """A function cannot be recorded, as it asks the host for something; the message is CUDA's first line."""


class CudaGraphs:
    """Recordings of functions on the GPU, one for each shape of their arguments.

    Args:
        most: how many recordings at most, each of which holds the activations of a call; further shapes are
            computed without one. None: any number.
    """

    def __init__(self, most: int | None = None):
        self._most, self._recordings = most, {}

    def __call__(self, function: Callable, *arguments, kept: Iterable[Tensor] = ()):
        """What ``function`` returns for ``arguments``.

        A result that was recorded is overwritten by the next call: copy it first, on the same stream. The
        recordings do not refer to the function, so that its owner may own them and is freed at once.

        Args:
            function: the same in each call.
            arguments: tensors on the GPU; anything else is constant within a recording.
            kept: tensors that ``function`` changes, and random numbers are kept with them: recording leaves
                all of them as they were, so that whoever records anew computes what others do. Asked for
                where something is recorded.

        Raises:
            CaptureError: it cannot be recorded.
        """
        key = tuple(x.shape if isinstance(x, Tensor) else x for x in arguments)
        if key not in self._recordings:
            if len(self._recordings) == self._most:
                return function(*arguments)
            self._recordings[key] = _record(function, arguments, kept)
        graph, places, result = self._recordings[key]
        for place, x in zip(places, arguments, strict=True):
            if isinstance(place, Tensor):
                place.copy_(x)
        graph.replay()
        return result


def _record(function: Callable, arguments: tuple, kept: Iterable[Tensor]):
    """A graph, the places of its arguments, and what it leaves its result in."""
    places = [x.clone() if isinstance(x, Tensor) else x for x in arguments]
    before = [(x, x.clone()) for x in kept]
    random = torch.cuda.get_rng_state()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            function(*places)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        # What other threads do meanwhile is no part of it: the watchdog of several processes, or one that
        # fetches earlier results.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = function(*places)
    except RuntimeError as error:
        raise CaptureError((str(error).strip().splitlines() or ["no reason given"])[0]) from error
    for x, value in before:
        x.copy_(value)
    torch.cuda.set_rng_state(random)
    return graph, places, result
