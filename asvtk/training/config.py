"""Experiment configuration: the detector, its data, and the ``training`` section of hyperparameters."""

import math
from dataclasses import dataclass, field
from typing import Literal

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends import check_augmentation
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.config import apply_overrides, build, load_yaml
from asvtk.io.errors import AsvtkError
from asvtk.models.config import DetectorConfig, build_sections
from asvtk.training.distillation import DistillationConfig
from asvtk.training.sampling import Sampling
from asvtk.vocoding.config import VocodedConfig

__all__ = [
    "ExperimentConfig",
    "Rates",
    "TrainingConfig",
    "Unfreezing",
    "Windows",
    "build_config",
    "load_config",
]


@dataclass(frozen=True)
class Rates:
    """Learning rates of their own for parts of the detector; in YAML a mapping, prefix -> rate.

    A prefix is the beginning of parameter names, such as ``model.blocks.0``; the longest that fits
    counts. These rates warm up and fall in proportion to ``lr``.
    """

    by_prefix: tuple[tuple[str, float], ...] = ()

    @classmethod
    def build(cls, content, where: str) -> "Rates":
        if not isinstance(content, dict):
            raise AsvtkError(f"{where}: expected prefixes of parameter names and rates, found {content!r}")
        pairs = []
        for prefix, rate in content.items():
            try:
                pairs.append((str(prefix), float(rate)))  # YAML reads 1e-4, without a point, as text
            except (TypeError, ValueError):
                raise AsvtkError(f"{where}.{prefix}: {rate!r} does not fit; expected a number") from None
            if not 0 <= pairs[-1][1] < math.inf:
                raise AsvtkError(f"{where}.{prefix}: {rate!r} does not fit; expected a rate, 0 or more")
        return cls(tuple(pairs))

    def describe(self) -> dict:
        return dict(self.by_prefix)

    def prefix_of(self, name: str) -> str | None:
        """The longest prefix that a parameter's name begins with."""
        return max((prefix for prefix, _ in self.by_prefix if name.startswith(prefix)), key=len, default=None)


@dataclass(frozen=True)
class Unfreezing:
    """From which epoch on how many of a front-end's top blocks are trained; in YAML epoch -> blocks.

    Empty: all that are trainable, from the first epoch on.
    """

    stages: tuple[tuple[int, int], ...] = ()

    @classmethod
    def build(cls, content, where: str) -> "Unfreezing":
        pairs = content.items() if isinstance(content, dict) else [(None, content)]
        # The word training.unfreeze.3=2 of an override brings the epoch as text.
        pairs = [(int(epoch) if str(epoch).isdecimal() else epoch, blocks) for epoch, blocks in pairs]
        if not all(type(number) is int and number > 0 for pair in pairs for number in pair):
            raise AsvtkError(
                f"{where}: expected epochs, from 1, and numbers of blocks, such as {{3: 2, 6: 6}}; "
                f"found {content!r}"
            )
        stages = tuple(sorted(dict(pairs).items()))
        if any(later <= before for (_, before), (_, later) in zip(stages, stages[1:], strict=False)):
            raise AsvtkError(f"{where}: {content!r} does not fit; later epochs must train more blocks")
        return cls(stages)

    def describe(self) -> dict:
        return dict(self.stages)

    def blocks(self, epoch: int, trainable: int) -> int:
        """How many of ``trainable`` blocks are trained in an epoch, counted from 1."""
        if not self.stages:
            return trainable
        return max((blocks for begin, blocks in self.stages if begin <= epoch), default=0)


@dataclass(frozen=True)
class Windows:
    """Windows that training hears: each batch has a random length, each of its utterances a random place."""

    shortest: float = 1.0  # seconds
    longest: float = 6.0

    def __post_init__(self):
        if not 0.2 <= self.shortest <= self.longest:  # AASIST needs 0.145 s
            raise ValueError("expected 0.2 <= shortest <= longest, in seconds")

    def check(self, frontend) -> None:
        """
        Raises:
            ValueError: there would be less to draw windows from than ``longest``.
        """
        heard = frontend.crop.samples
        if frontend.cache and heard is not None:
            raise ValueError(
                f"training.windows: the cache holds {heard} samples of an utterance, and windows are drawn "
                "from whole ones; set frontend.crop.samples to null"
            )
        if heard is not None and self.longest * SAMPLE_RATE > heard:
            raise ValueError(
                f"training.windows.longest: {self.longest:g} s, and frontend.crop.samples lets "
                f"{heard / SAMPLE_RATE:.4g} s be heard; make it no longer, or set the crop to null"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """How a head is trained."""

    epochs: int = 50
    batch_size: int = 16  # utterances of a step, over all GPUs
    lr: float = 1e-4  # highest learning rate
    lr_end: float = 1e-6  # where the cosine ends
    warmup_epochs: float = 1.0  # linear rise to lr
    weight_decay: float = 1e-4  # of matrices only
    grad_clip: float = 1.0  # largest norm of the gradient; 0: no clipping
    balance: bool = False  # draw as many bona fide as spoofed utterances
    sampling: Sampling | None = None  # shares of corpora, labels, attacks ... of an epoch; null: as there are
    windows: Windows | None = None  # hear random windows of utterances; null: as much as the crop says
    normalise_on: int = 1000  # training utterances that the input statistics are taken on; 0: none

    optimizer: Literal["adamw", "adam"] = "adamw"  # decay of the weights themselves, or by the gradient
    rates: Rates = Rates()  # prefix of parameter names -> highest learning rate, where not lr
    unfreeze: Unfreezing = Unfreezing()  # epoch -> how many of the front-end's top blocks train from then on
    grad_accum: int = 1  # micro-batches that a batch is computed in, one after another, to need less memory
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"  # of products in training; weights: float32
    ema: float = 0.0  # decay of the moving average of the weights that is evaluated on dev and kept; 0: none
    average_best: int = 0  # average the weights of so many best evaluations, if dev likes it; 0: do not

    eval_every: float = 1.0  # epochs from one evaluation on dev to the next
    select: Literal["mean", "worst"] = "mean"  # of several dev sets: the EER that chooses the best weights
    eval_all_best: bool = False  # also evaluate eval at each best: to watch, never to choose
    patience: int = 0  # stop after so many evaluations without a new best; 0: never
    save_every: int = 0  # steps from one checkpoint to the next within an epoch; 0: at its end only

    max_bad_steps: int = 3  # steps in a row without a finite loss and gradient before rolling back
    max_rollbacks: int = 3  # each halves the learning rates; after the last one training stops
    deterministic: bool = False  # also on a GPU the same bits every time; slower
    cuda_graph: bool = True  # one GPU launch for a full batch instead of hundreds, where crops are fixed
    compile: bool = False  # on a GPU, kernels by torch.compile, where crops are fixed

    def __post_init__(self):
        if min(self.epochs, self.batch_size, self.grad_accum, self.max_bad_steps) < 1:
            raise ValueError("epochs, batch_size, grad_accum and max_bad_steps must be positive")
        if self.grad_accum > self.batch_size:
            raise ValueError(f"grad_accum {self.grad_accum} must not exceed batch_size ({self.batch_size})")
        if not 0 <= self.lr_end <= self.lr < math.inf:
            raise ValueError("expected 0 <= lr_end <= lr")
        not_negative = ("grad_clip", "weight_decay", "normalise_on", "average_best", "patience", "save_every")
        if min(getattr(self, name) for name in (*not_negative, "max_rollbacks")) < 0:
            raise ValueError(f"{', '.join(not_negative)} and max_rollbacks must not be negative")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError("expected 0 <= warmup_epochs < epochs")
        if self.unfreeze.stages and (last := self.unfreeze.stages[-1][0]) > self.epochs:
            raise ValueError(f"unfreeze: epoch {last} is beyond the last one ({self.epochs})")
        if not 0 < self.eval_every <= self.epochs:
            raise ValueError(
                f"eval_every {self.eval_every}: expected a number of epochs in (0, {self.epochs}]"
            )
        if not 0 <= self.ema < 1:
            raise ValueError("ema must lie in [0, 1)")
        if self.balance and self.sampling is not None:
            raise ValueError(
                "balance and sampling exclude each other; label: equal in sampling balances classes"
            )


@dataclass(frozen=True)
class ExperimentConfig(DetectorConfig):
    """A detector, and how it is trained. ``seed`` rules all randomness."""

    augmentation: AugmentationConfig | None = None
    vocoded: VocodedConfig | None = None
    distillation: DistillationConfig | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 1

    def __post_init__(self):
        check_augmentation(self.frontend, self.augmentation)
        if self.training.windows is not None:
            self.training.windows.check(self.frontend)
        if self.training.sampling is not None and self.vocoded is not None and self.vocoded.share is not None:
            raise ValueError(
                "vocoded.share and training.sampling exclude each other: both say how many spoofs are "
                "vocoded ones; set vocoded.share to null, and sampling draws them by their corpus or attack"
            )
        trainable, stages = getattr(self.frontend, "trainable", 0), self.training.unfreeze.stages
        if stages and stages[-1][1] != trainable:
            raise ValueError(
                f"training.unfreeze ends with {stages[-1][1]} blocks, and frontend.trainable is {trainable}; "
                "they must agree"
            )


def load_config(path, overrides: list[str] = ()) -> ExperimentConfig:
    """Read and check a configuration.

    Args:
        path: a YAML file.
        overrides: ``section.key=value`` words that win over the file.

    Raises:
        AsvtkError: anything unknown, missing or impossible in it, with the nearest valid key, or with what
            became of a key that was valid once.
    """
    return build_config(apply_overrides(load_yaml(path), overrides), str(path))


def build_config(content: dict, where: str) -> ExperimentConfig:
    """Check a loaded configuration; ``where`` names it in messages.

    Raises:
        AsvtkError: as `load_config`.
    """
    return build(ExperimentConfig, build_sections(content, where), where)
