"""A module as a recording of its GPU kernels, for inputs of shapes that come again and again.

Starting some three hundred kernels one by one from Python takes milliseconds and holds up every other
thread of the process; replaying a recording is one call.
"""

import torch
from torch import Tensor, nn

__all__ = ["Replay"]


class Replay:
    """Call a module of one tensor through CUDA graphs, one for each shape of input.

    What it returns is overwritten by the next call: copy it first, on the same stream.
    """

    def __init__(self, module: nn.Module):
        self._module = module
        self._recordings = {}

    @torch.inference_mode()
    def __call__(self, x: Tensor):
        if x.shape not in self._recordings:
            self._recordings[x.shape] = self._record(x)
        graph, place, result = self._recordings[x.shape]
        place.copy_(x)
        graph.replay()
        return result

    def _record(self, x: Tensor):
        place = x.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is allocated and tuned at a first call must not be recorded
            for _ in range(2):
                self._module(place)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Only this thread must keep quiet meanwhile: others go on fetching earlier results.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = self._module(place)
        return graph, place, result
