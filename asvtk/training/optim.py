"""Optimizer, parameter groups, learning-rate schedule, and averages of weights (EMA, best checkpoints)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from asvtk.io.errors import AsvtkError
from asvtk.training.config import TrainingConfig

__all__ = ["MovingAverage", "build_optimiser", "learning_rate", "mean_weights", "set_rates"]

_OPTIMISERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def build_optimiser(detector: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Two groups of parameters, decayed and spared, for each learning rate.

    Biases, gains, the class vector and the scan's own A and D are not pulled to zero.

    Raises:
        AsvtkError: a prefix in ``rates`` fits no parameter.
    """
    highest = dict(config.rates.by_prefix)
    members = {(prefix, decayed): [] for prefix in (None, *highest) for decayed in (True, False)}
    for name, parameter in detector.named_parameters():
        decayed = parameter.ndim > 1 and not name.endswith("A_log")
        members[config.rates.prefix_of(name), decayed].append(parameter)
    for prefix in highest:
        if not (members[prefix, True] or members[prefix, False]):
            raise AsvtkError(
                f"training.rates: no parameter's name begins with {prefix!r}; they begin with "
                + ", ".join(sorted({".".join(n.split(".")[:2]) for n, _ in detector.named_parameters()}))
            )
    groups = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "share": highest[prefix] / config.lr if prefix is not None and config.lr else 1.0,
        }
        for (prefix, decayed), parameters in members.items()
    ]
    on_gpu = next(detector.parameters()).is_cuda
    return _OPTIMISERS[config.optimizer](groups, lr=config.lr, fused=on_gpu or None)


def set_rates(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of ``rate``."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(config: TrainingConfig, epochs_done: float) -> float:
    """Linear warm-up, then half a cosine; a function of progress alone, so it needs no state."""
    if epochs_done < config.warmup_epochs:
        return config.lr * max(epochs_done / config.warmup_epochs, 1e-2)
    share = (epochs_done - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    return config.lr_end + (config.lr - config.lr_end) * (1 + math.cos(math.pi * share)) / 2


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
