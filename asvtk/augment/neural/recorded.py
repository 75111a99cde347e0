"""Steps of training that a GPU replays, since Python starts their kernels far slower than it runs them."""

from collections.abc import Callable, Hashable

import torch

from asvtk.io.errors import AsvtkError

__all__ = ["Recorded", "half"]


def half(device: str) -> torch.autocast:
    """Autocast to bfloat16 that may be recorded: weights it remembered would be missing from a recording."""
    return torch.autocast(device, torch.bfloat16, cache_enabled=False)


class Recorded:
    """A function that on a GPU is recorded at its fourth call of each kind, and replayed from there.

    What it reads and writes must be the same tensors at every call; random numbers of the default generator
    are new ones in each replay.
    """

    _UNRECORDED = 3  # of each kind: what is allocated and tuned at a first call must not be recorded

    def __init__(self, function: Callable[[Hashable], None], device: str):
        self._function, self._device = function, device
        self._calls, self._graphs = {}, {}

    def __call__(self, kind: Hashable) -> None:
        """Call it with ``kind``, which says which of its branches it takes.

        Raises:
            AsvtkError: it cannot be recorded.
        """
        self._calls[kind] = self._calls.get(kind, 0) + 1
        if self._device == "cpu":
            self._function(kind)
        elif self._calls[kind] <= self._UNRECORDED:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._function(kind)
            torch.cuda.current_stream().wait_stream(side)
        else:
            if kind not in self._graphs:
                self._graphs[kind] = self._record(kind)
            self._graphs[kind].replay()

    def _record(self, kind: Hashable) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._function(kind)
        except RuntimeError as error:  # above all, no memory
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise AsvtkError(
                f"resynthesis.vocoders: this GPU cannot record a step ({reason}); lower batch_size"
            ) from error
        return graph
