"""An experiment: its configuration, and the files of its folder.

exp/<tag>/config.yaml               fully resolved
exp/<tag>/environment.json          versions, git revision, command, device
exp/<tag>/run.sh                    repeats the stages of this experiment
exp/<tag>/train.jsonl               one line per epoch
exp/<tag>/checkpoints/{last,previous,best}.safetensors
exp/<tag>/scores/{dev,eval}.txt     utterance attack key score; higher = bona fide
exp/<tag>/results.json, RESULTS.md
"""

import fcntl
import math
import os
import platform
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from asvtk.frontends import FRONTEND_CONFIGS
from asvtk.io.atomic import write_text
from asvtk.io.config import apply_overrides, build, build_named, differences, load_yaml, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import read_stamp, write_stamp
from asvtk.models import MODEL_CONFIGS
from asvtk.nn.losses import LOSS_CONFIGS

__all__ = ["Experiment", "ExperimentConfig", "TrainingConfig", "load_config"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a head is trained."""

    epochs: int = 50
    batch_size: int = 16
    lr: float = 1e-4  # highest learning rate
    lr_end: float = 1e-6  # where the cosine ends
    warmup_epochs: float = 1.0  # linear rise to lr
    weight_decay: float = 1e-4  # decoupled (AdamW), of matrices only
    clip: float = 1.0  # largest norm of the gradient; 0: no clipping
    balance: bool = False  # draw as many bona fide as spoofed utterances
    normalise_on: int = 1000  # training utterances that the input statistics are taken on; 0: none

    def __post_init__(self):
        if min(self.epochs, self.batch_size) < 1:
            raise ValueError("epochs and batch_size must be positive")
        if not 0 <= self.lr_end <= self.lr < math.inf:
            raise ValueError("expected 0 <= lr_end <= lr")
        if min(self.clip, self.weight_decay, self.normalise_on) < 0:
            raise ValueError("clip, weight_decay and normalise_on must not be negative")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError("expected 0 <= warmup_epochs < epochs")


@dataclass(frozen=True)
class ExperimentConfig:
    """One section for each floor that has a choice to make. ``seed`` rules all randomness."""

    frontend: object
    model: object
    loss: object
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 1


_CHOICES = {"frontend": FRONTEND_CONFIGS, "model": MODEL_CONFIGS, "loss": LOSS_CONFIGS}


def load_config(path, overrides: list[str] = ()) -> ExperimentConfig:
    """Read and check a configuration.

    Args:
        path: a YAML file.
        overrides: ``section.key=value`` words that win over the file.

    Raises:
        AsvtkError: anything unknown, missing or impossible in it, with the nearest valid key.
    """
    content = apply_overrides(load_yaml(path), overrides)
    return _build(content, str(path))


def _build(content: dict, path: str) -> ExperimentConfig:
    content = dict(content)
    for section, registry in _CHOICES.items():
        if section in content:
            content[section] = build_named(registry, content[section], f"{path}: {section}")
    return build(ExperimentConfig, content, path)


class Experiment:
    """The folder of one experiment."""

    def __init__(self, folder):
        self.folder = Path(folder)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def log(self) -> Path:
        return self.folder / "train.jsonl"

    @property
    def done(self) -> Path:
        return self.folder / ".train.done"

    def scores(self, dataset: str) -> Path:
        return self.folder / "scores" / f"{dataset}.txt"

    def config(self) -> ExperimentConfig:
        """The resolved configuration.

        Raises:
            AsvtkError: nothing was trained here.
        """
        path = self.folder / "config.yaml"
        if not path.exists():
            raise AsvtkError(
                f"{path}: nothing was trained here; run stage 3 first: ./run.sh --stage 3 --stop-stage 3"
            )
        return load_config(path)

    def inputs(self) -> dict:
        """What it was trained on: data sets, and the cache and layers of its features."""
        return read_stamp(self.folder / "inputs.json") or {}

    @contextmanager
    def lock(self):
        """One process at a time trains here; another one waits.

        It may be one that outlived its killed launcher. The system drops the lock of a killed process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                print(f"{self.folder}: waiting for {stream.read().strip()}, which trains here", flush=True)
                fcntl.flock(stream, fcntl.LOCK_EX)
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {platform.node()}\n")
            stream.flush()
            yield

    def claim(self, config: ExperimentConfig, inputs: dict) -> None:
        """Write configuration and inputs; refuse to mix two experiments in one folder.

        Raises:
            AsvtkError: the folder was trained with others; with the differences.
        """
        path = self.folder / "config.yaml"
        if path.exists():
            changes = differences(to_mapping(load_config(path)), to_mapping(config))
            changes += differences(self.inputs(), inputs)
            if changes:
                raise AsvtkError(
                    f"{self.folder}: was trained with another configuration or other data:\n  "
                    + "\n  ".join(changes)
                    + "\nname another --tag to keep both, or give --force true to train it anew"
                )
            return
        write_stamp(self.folder / "inputs.json", inputs)
        write_text(path, yaml.safe_dump(to_mapping(config), sort_keys=False))

    def clear(self) -> None:
        """Throw away what was trained, scored and reported here; logs and ``run.sh`` stay."""
        for name in ("checkpoints", "scores"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in (self.log, self.done, "config.yaml", "inputs.json", "results.json", "RESULTS.md"):
            (self.folder / name).unlink(missing_ok=True)
