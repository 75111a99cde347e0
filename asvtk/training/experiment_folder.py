"""The folder of an experiment, quick to import: configurations, which know all models, come when asked for.

exp/<tag>/config.yaml               fully resolved
exp/<tag>/inputs.json               fingerprints of data sets and feature caches
exp/<tag>/environment.json          versions, git revision, command, device
exp/<tag>/diff.patch                what was changed since that revision, if anything
exp/<tag>/run.sh                    repeats the stages of this experiment
exp/<tag>/train.jsonl, curves.png   one line per epoch or evaluation, and a picture of them
exp/<tag>/faults.jsonl              steps that were skipped, and ways back to a good state
exp/<tag>/checkpoints/{last,previous,best}.safetensors
exp/<tag>/tensorboard/              events, where TensorBoard is installed
exp/<tag>/scores/{dev,eval}.txt     utterance attack key score; higher = bona fide
exp/<tag>/results.json, RESULTS.md
exp/<tag>/<tag>.asvtk.tar           all that others need to score with it
exp/<tag>/robustness/               scores of changed copies of eval
"""

import fcntl
import shutil
from pathlib import Path

import yaml

from asvtk.io.atomic import write_text
from asvtk.io.config import differences, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.locks import locked
from asvtk.io.stamps import write_stamp
from asvtk.io.text import read_json, read_json_lines

__all__ = ["Experiment"]

#: what programs rely on in a line of train.jsonl, and what it may lack
_RECORD = {"epoch": int, "best_epoch": int, "seconds": float, "dev_eer_percent": float, "skipped_steps": int}
_OPTIONAL = {"best_epoch": 0, "dev_eer_percent": 0.0, "skipped_steps": 0}


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
    def faults(self) -> Path:
        return self.folder / "faults.jsonl"

    @property
    def done(self) -> Path:
        return self.folder / ".train.done"

    @property
    def package(self) -> Path:
        """Where stage 7 puts what others need."""
        return self.folder / f"{self.folder.absolute().name}.asvtk.tar"

    def records(self) -> list[dict]:
        """The lines of ``train.jsonl``.

        Raises:
            AsvtkError: it was damaged; with the line.
        """
        records = read_json_lines(self.log) if self.log.exists() else []
        for number, record in enumerate(records, 1):
            for name, kind in _RECORD.items():
                field_of({**_OPTIONAL, **record}, name, kind, f"{self.log}:{number}")
        return records

    def state(self) -> str:
        """``finished``, ``training`` (a process holds its lock) or ``stopped`` (the same command goes on)."""
        if self.done.exists():
            return "finished"
        try:
            with open(self.folder / ".lock") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "training"
        except FileNotFoundError:
            pass
        return "stopped"

    def scores(self, dataset: str) -> Path:
        return self.folder / "scores" / f"{dataset}.txt"

    def config(self):
        """The resolved configuration.

        Raises:
            AsvtkError: nothing was trained here.
        """
        path = self.folder / "config.yaml"
        if not path.exists():
            raise AsvtkError(
                f"{path}: nothing was trained here; run stage 3 first: ./run.sh --stage 3 --stop-stage 3"
            )
        return _load_config(path)

    def inputs(self) -> dict:
        """What it was trained on: data sets, and the cache and layers of its features; empty: nothing yet.

        Raises:
            AsvtkError: it was damaged.
        """
        path = self.folder / "inputs.json"
        return read_json(path) if path.exists() else {}

    def lock(self):
        """One process at a time trains here; another one waits."""
        return locked(self.folder / ".lock", "trains here")

    def claim(self, config, inputs: dict) -> None:
        """Write configuration and inputs; refuse to mix two experiments in one folder.

        Raises:
            AsvtkError: the folder was trained with others; with the differences.
        """
        if not self.is_claimed(config, inputs):
            write_stamp(self.folder / "inputs.json", inputs)
            write_text(self.folder / "config.yaml", yaml.safe_dump(to_mapping(config), sort_keys=False))

    def is_claimed(self, config, inputs: dict) -> bool:
        """Did a training with these begin here?

        Raises:
            AsvtkError: one with others did; with the differences.
        """
        path = self.folder / "config.yaml"
        if path.exists():
            changes = differences(to_mapping(_load_config(path)), to_mapping(config))
            changes += differences({**self.inputs(), "extended": None}, inputs)
            if changes:
                raise AsvtkError(
                    f"{self.folder}: was trained with another configuration or other data:\n  "
                    + "\n  ".join(changes)
                    + "\nname another --tag to keep both, or give --force true to train it anew"
                )
        return path.exists()

    def clear(self) -> None:
        """Throw away what was trained, scored and reported here; logs and ``run.sh`` stay."""
        self.forget_results()
        for name in ("checkpoints", "tensorboard"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        made = ("config.yaml", "inputs.json", "diff.patch", "curves.png")
        for path in (self.log, self.faults, self.done, *map(self.folder.joinpath, made)):
            path.unlink(missing_ok=True)

    def forget_results(self) -> None:
        """Throw away what stages 4 to 7 made of the weights."""
        for name in ("scores", "analysis", "robustness"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in (self.folder / "results.json", self.folder / "RESULTS.md", self.package):
            path.unlink(missing_ok=True)


def _load_config(path):
    from asvtk.training.experiment import load_config

    return load_config(path)
