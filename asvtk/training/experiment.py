"""Experiment folder: its files, its lock, and the record of the environment it was trained in.

Quick to import: torch, and configurations, which know all models, come when they are asked for.

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
exp/<tag>/calibration.json          what scores mean, by dev; errors on eval; what training was like
exp/<tag>/results.json, RESULTS.md
exp/<tag>/<tag>.asvtk.tar           all that others need to score with it
exp/<tag>/robustness/               scores of changed copies of eval
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import yaml

from asvtk.io.atomic import write_text
from asvtk.io.config import differences, to_mapping
from asvtk.io.corpus_card import CorpusCard
from asvtk.io.datadir import LABELS, DataDirectory
from asvtk.io.environment import command_line, git_revision, package_versions
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.locks import locked
from asvtk.io.stamps import write_stamp
from asvtk.io.text import read_json, read_json_lines
from asvtk.version import __version__

__all__ = ["Experiment", "write_environment"]

#: what programs rely on in a line of train.jsonl, and what it may lack
_RECORD = {"epoch": int, "best_epoch": int, "seconds": float, "dev_eer_percent": float, "skipped_steps": int}
_OPTIONAL = {"best_epoch": 0, "dev_eer_percent": 0.0, "skipped_steps": 0}
#: whose versions environment.json has
PACKAGES = ("torch", "transformers", "numpy", "scipy", "soundfile", "safetensors", "mamba-ssm")


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
    def calibration(self) -> Path:
        """Where stage 5 says what scores mean."""
        return self.folder / "calibration.json"

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
        made = ("results.json", "RESULTS.md", ".calibration.done")
        for path in (self.calibration, self.package, *map(self.folder.joinpath, made)):
            path.unlink(missing_ok=True)


def _load_config(path):
    from asvtk.training.config import load_config

    return load_config(path)


def write_environment(folder, device: str, seed: int, data: dict[str, DataDirectory]) -> None:
    """Record versions, git revision, command, processor and data sets in ``folder/environment.json``.

    Where the source differs from its revision, ``folder/diff.patch`` says how.
    """
    import torch

    from asvtk.training import distributed

    on_gpu = device == "cuda"
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "asvtk": __version__,
        "git_revision": git_revision(),
        "command": command_line(),
        "seed": seed,
        "data": {name: dict(zip(LABELS, of.count_classes(), strict=True)) for name, of in data.items()},
        "corpora": _official_corpora(data.values()),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda,
        "processes": distributed.size(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
    }
    write_text(Path(folder) / "environment.json", json.dumps(record, indent=1) + "\n")
    patch = Path(folder) / "diff.patch"
    if difference := _git_difference():
        write_text(patch, difference)
    else:
        patch.unlink(missing_ok=True)


def _official_corpora(data) -> list[str]:
    """Names of the corpora of which whole official sets are among the data."""
    parts = [part for of in data for part in of.parts]
    cards = [(CorpusCard.read(part.path), part) for part in parts]
    official = {
        card.corpus
        for card, part in cards
        if card is not None and card.is_counted and card.difference(*part.count_classes()) is None
    }
    return sorted(official)


def _git_difference() -> str:
    """What was changed since the revision, new files included; empty outside git."""
    source = str(Path(__file__).parents[2])
    git = ["git", "-C", source]
    try:
        changed = subprocess.run([*git, "diff", "HEAD"], capture_output=True, check=True).stdout
        new = subprocess.run(
            [*git, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py"],
            capture_output=True,
            check=True,
        ).stdout
        for path in filter(None, new.decode(errors="replace").split("\0")):
            # git says by status 1 that the file differs from nothing
            added = [*git, "diff", "--no-index", "--", os.devnull, path]
            changed += subprocess.run(added, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return changed.decode(errors="replace")
