"""Training state: detector, optimizer, EMA, random numbers and progress, saved and restored as one."""

import dataclasses
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from asvtk.inference.weights import part, prefixed, put_detector
from asvtk.io.errors import AsvtkError
from asvtk.training import distributed
from asvtk.training.checkpoint import copies, detector_tensors
from asvtk.training.optim import MovingAverage

__all__ = ["Progress", "TrainingState"]

_OPTIMISER, _AVERAGE, _RANDOM = "optimiser.", "average.", "random."


@dataclass
class Progress:
    """Where training is. Times are no part of it: two runs of one seed end with equal files."""

    epoch: int = 0  # epochs that are complete
    step: int = 0  # complete steps of the next one
    updates: int = 0  # steps that changed the weights, over all epochs
    best_epoch: int = 0
    best_dev_eer: float = math.inf  # in 0 ... 1
    best_dev_loss: float = math.inf
    top: list = field(default_factory=list)  # [dev EER, dev loss, name of checkpoint], the best first
    stale: int = 0  # evaluations since the best
    loss_sum: float = 0.0  # over the utterances since the last line of the log
    loss_count: int = 0
    bad_steps: int = 0  # in a row
    skipped_steps: int = 0
    rollbacks: int = 0
    rate_scale: float = 1.0  # what rollbacks left of the learning rate

    @property
    def running_epoch(self) -> int:
        """Number of the epoch that the last step belongs to."""
        return self.epoch + (self.step > 0)

    def as_dict(self) -> dict:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return f"after epoch {self.epoch}" + (f", batch {self.step} of the next" if self.step else "")


class TrainingState:
    """A detector, its optimiser, the moving average of its weights, progress, and random numbers.

    Args:
        detector: on its device.
        optimiser: of its parameters.
        average: of its parameters, if wanted.
    """

    def __init__(
        self, detector: nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage | None = None
    ):
        self.detector, self.optimiser, self.average = detector, optimiser, average
        self.progress = Progress()
        self._random: dict[str, Tensor] = {}

    def update(self) -> None:
        """One step of the optimiser with the gradients that are there."""
        self.optimiser.step()
        self.progress.updates += 1
        if self.average is not None:
            self.average.update(self.progress.updates)

    def snapshot(self) -> tuple[dict[str, Tensor], dict]:
        """A copy on the CPU, and the progress; all processes have to ask for it together."""
        tensors = detector_tensors(self.detector)
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= prefixed(f"{_OPTIMISER}{index}.", slots)
        if self.average is not None:
            tensors |= prefixed(_AVERAGE, self.average.average)
        if self.progress.step:  # each epoch begins with a seed of its own
            for rank, state in enumerate(distributed.gather_objects(_random_state())):
                tensors |= prefixed(f"{_RANDOM}{rank}.", state)
        return copies(tensors), self.progress.as_dict()

    def restore(self, tensors: dict[str, Tensor], progress: dict, path="the last good state") -> None:
        """Be again what ``snapshot`` copied. Parameters stay where they are in memory.

        Raises:
            AsvtkError: the checkpoint is of another system; names ``path``.
        """
        put_detector(path, self.detector, tensors)
        state = {}
        for name, value in part(_OPTIMISER, tensors).items():
            index, _, slot = name.partition(".")
            state.setdefault(int(index), {})[slot] = value.clone()
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        if self.average is not None:
            for name, value in part(_AVERAGE, tensors).items():
                self.average.average[name].copy_(value)
        self._random = part(f"{_RANDOM}{distributed.rank()}.", tensors)
        self.progress = Progress()
        for name, default in self.progress.as_dict().items():
            value = progress.get(name, default)
            if type(value) is not type(default) and not (type(default) is float and type(value) is int):
                raise AsvtkError(f"{path}: its progress holds {value!r} as {name!r}; the file was changed")
            setattr(self.progress, name, value)
        self.progress.top = [list(entry) for entry in self.progress.top]

    def restore_random(self) -> None:
        """Draw on where the snapshot was taken, if that was within an epoch."""
        if self._random:
            torch.set_rng_state(self._random["cpu"])
            if "cuda" in self._random:
                torch.cuda.set_rng_state(self._random["cuda"])
            self._random = {}


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state
