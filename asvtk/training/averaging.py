"""Averages of weights: a moving one over the steps, and one of the best evaluations."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage", "mean_weights"]


class MovingAverage:
    """Exponential moving average of a detector's parameters.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control
    Optim. 30, 1992, of which it is the usual form with a window.

    Args:
        detector: whose parameters; buffers are not averaged.
        decay: weight of the past at each step. In the first steps it is (1 + n) / (10 + n) where that is
            less, so that the beginning is soon forgotten.
    """

    def __init__(self, detector: nn.Module, decay: float):
        self._decay = decay
        self._parameters = dict(detector.named_parameters())
        self.average = {name: x.detach().clone() for name, x in self._parameters.items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the parameters as they are after step number ``steps``, counted from 1."""
        past = min(self._decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(list(self.average.values()), list(self._parameters.values()), 1 - past)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context the detector has the average for its parameters."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            now = parameter.clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(now)


def mean_weights(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several state dictionaries; whole numbers, which are counters, are the last one's.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.
    """
    means = {}
    for name, value in states[-1].items():
        if value.is_floating_point():
            value = torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        means[name] = value
    return means
