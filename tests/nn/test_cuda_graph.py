"""The recorder of CUDA graphs: what it records, and when; on a GPU also that replays are the function."""

import gc
import weakref

import pytest
import torch

from asvtk.nn import cuda_graph
from asvtk.nn.cuda_graph import CudaGraphs

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Tape:
    """In place of a graph: replaying computes on the places."""

    def __init__(self, function, arguments, kept):
        self.places = [x.clone() if isinstance(x, torch.Tensor) else x for x in arguments]
        self.kept, self.result, self.function = list(kept), function(*self.places), function

    def replay(self):
        self.result.copy_(self.function(*self.places))


def test_each_shape_and_constant_is_recorded_once_up_to_the_most(monkeypatch):
    tapes = []

    def record(*arguments):
        tapes.append(tape := Tape(*arguments))
        return tape, tape.places, tape.result

    monkeypatch.setattr(cuda_graph, "_record", record)
    graphs, kept = CudaGraphs(most=2), torch.zeros(1)

    def call(x, factor):
        asked = (tensor for tensor in [kept])
        result = graphs(lambda x, nothing, factor: x * factor, x, None, factor, kept=asked)
        assert torch.equal(result, x * factor)
        return not list(asked)  # who was asked for what to keep recorded something

    assert [call(torch.rand(size), 2.0) for size in (3, 3, 4, 3)] == [True, False, True, False]
    assert not call(torch.rand(5), 2.0) and not call(torch.rand(3), 3.0)  # two are there already
    assert len(tapes) == 2 and all(tape.kept == [kept] for tape in tapes)


@on_gpu
def test_a_recording_computes_anew_and_leaves_no_trace():
    state = torch.zeros(4, device="cuda")

    def function(x):
        state.add_(1)
        return x * 2 + torch.zeros_like(x).uniform_()

    graphs = CudaGraphs()
    x = torch.rand(4, device="cuda")
    torch.cuda.manual_seed(3)
    ours = [graphs(function, x + number, kept=[state]).clone() for number in range(3)]
    assert state.tolist() == [3] * 4
    torch.cuda.manual_seed(3)
    for number, result in enumerate(ours):
        torch.testing.assert_close(result, function(x + number))


@on_gpu
def test_the_owner_of_a_recorder_is_freed_at_once():
    class Owner:
        def __init__(self):
            self.graphs = CudaGraphs()

        def double(self, x):
            return 2 * x

    owner = Owner()
    owner.graphs(owner.double, torch.rand(4, device="cuda"))
    gone = weakref.ref(owner)
    gc.disable()
    del owner
    gc.enable()
    assert gone() is None
