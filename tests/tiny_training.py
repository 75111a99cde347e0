"""A training of a second on the tiny corpus, for tests that look at how it goes."""

from pathlib import Path

import pytest
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.frontends import build_frontend
from asvtk.frontends.cache.extraction import Source, extract_missing
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.cache.store import FeatureCache, cache_name, description
from asvtk.io.datadir import DataDirectory
from asvtk.training.config import load_config
from asvtk.training.dataset import open_dataset
from asvtk.training.experiment import Experiment
from asvtk.training.state import TrainingState
from asvtk.training.trainer import train

FRONTEND = "{name: lfcc, crop: {samples: null}}"
CONFIG = """
frontend: FRONTEND
model:
  {name: moe_mamba, stack: 4, d_model: 16, blocks: 1, d_state: 4, d_expert: 16, d_embedding: 8, dropout: 0.1}
loss: {name: oc_softmax}
training: {epochs: 4, batch_size: 4, lr: 3.0e-3}
"""


class Killed(BaseException):
    """Ends a training where the system would: nothing catches it."""


def kill_at(monkeypatch, update: int, run, *arguments) -> None:
    """Train (``run(*arguments)``), and be killed in the step that would be update number ``update``."""
    original = TrainingState.update

    def counted(self):
        if self.progress.updates + 1 == update:
            raise Killed
        original(self)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainingState, "update", counted)
        run(*arguments)


def prepare(folder: Path, frontend: str = FRONTEND) -> None:
    """Corpus, data directories and features: ``folder/{data,dump,c.yaml}``."""
    la = write_tiny_corpus(folder)
    (folder / "c.yaml").write_text(CONFIG.replace("FRONTEND", frontend))
    frontend = build_frontend(load_config(folder / "c.yaml").frontend)
    for split in ("train", "dev"):
        data = prepare_split(la, split, folder / "data" / split)
        cache = FeatureCache(folder / "dump", cache_name(frontend), split)
        cache.claim(data, description(frontend))
        extract_missing(Source(data, cache), Extractor(frontend), 1, 1)
        cache.join(data, frontend.stored)


def open_sets(folder: Path, config) -> list:
    frontend = build_frontend(config.frontend)
    train, dev = (DataDirectory.read(folder / "data" / split) for split in ("train", "dev"))
    dump = folder / "dump"
    return [open_dataset(train, dump, frontend, config.augmentation), open_dataset(dev, dump, frontend)]


def run(folder, exp, *overrides, device: str = "cpu", **options) -> dict:
    """Train into ``exp`` what is not trained there yet; returns the progress."""
    config = load_config(Path(folder) / "c.yaml", list(overrides))
    return train(Experiment(exp), config, *open_sets(Path(folder), config), device, **options)


def run_alone(begun, folder, exp, *overrides, device: str = "cpu") -> None:
    """The same, as the target of a process; tells the pipe ``begun`` when it begins."""
    import torch

    torch.set_num_threads(1)
    begun.send(True)
    run(folder, exp, *overrides, device=device)
