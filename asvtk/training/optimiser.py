"""The optimiser, its groups of parameters, and the schedule of the learning rate."""

import math

import torch
from torch import nn

from asvtk.io.errors import AsvtkError
from asvtk.training.settings import TrainingConfig

__all__ = ["build_optimiser", "learning_rate", "set_rates"]

_OPTIMISERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def build_optimiser(detector: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    """Two groups of parameters, decayed and spared, for each learning rate.

    Biases, gains, the class vector and the scan's own A and D are not pulled to zero.

    Raises:
        AsvtkError: a prefix in ``rates`` fits no parameter.
    """
    highest = dict(settings.rates.by_prefix)
    members = {(prefix, decayed): [] for prefix in (None, *highest) for decayed in (True, False)}
    for name, parameter in detector.named_parameters():
        decayed = parameter.ndim > 1 and not name.endswith("A_log")
        members[settings.rates.prefix_of(name), decayed].append(parameter)
    for prefix in highest:
        if not (members[prefix, True] or members[prefix, False]):
            raise AsvtkError(
                f"training.rates: no parameter's name begins with {prefix!r}; they begin with "
                + ", ".join(sorted({".".join(n.split(".")[:2]) for n, _ in detector.named_parameters()}))
            )
    groups = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "share": highest[prefix] / settings.lr if prefix is not None and settings.lr else 1.0,
        }
        for (prefix, decayed), parameters in members.items()
    ]
    on_gpu = next(detector.parameters()).is_cuda
    return _OPTIMISERS[settings.optimizer](groups, lr=settings.lr, fused=on_gpu or None)


def set_rates(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of ``rate``."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(settings: TrainingConfig, epochs_done: float) -> float:
    """Linear warm-up, then half a cosine; a function of progress alone, so it needs no state."""
    if epochs_done < settings.warmup_epochs:
        return settings.lr * max(epochs_done / settings.warmup_epochs, 1e-2)
    share = (epochs_done - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    return settings.lr_end + (settings.lr - settings.lr_end) * (1 + math.cos(math.pi * share)) / 2
