"""Detectors of experiments: a fresh one to train, and the best one to score with."""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from asvtk.frontends import build_frontend, mode_of
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.stamps import file_digest
from asvtk.models import Detector, build_detector
from asvtk.nn.construction import require_shapes
from asvtk.training.checkpoint import detector_shapes, load_detector
from asvtk.training.data import UtteranceDataset, open_dataset
from asvtk.training.experiment import ExperimentConfig
from asvtk.training.experiment_folder import Experiment

__all__ = ["TrainedSystem", "new_detector", "trained_detector", "sample_features"]


def new_detector(config: ExperimentConfig, dataset: UtteranceDataset, frontend=None) -> Detector:
    """A fresh detector.

    Args:
        config: of the experiment.
        dataset: one whose features it is to hear.
        frontend: that of the configuration, where it is at hand.
    """
    layers, width, live = _heard(config, dataset, frontend)
    return build_detector(config.model, config.loss, layers, width, live)


def trained_detector(path, config: ExperimentConfig, dataset: UtteranceDataset, frontend=None) -> Detector:
    """A detector with the weights of a checkpoint.

    The weights' shapes are compared with the configuration's before anything of that size is made: a
    package may come from anybody.

    Args:
        path: the checkpoint.
        config, dataset, frontend: as in ``new_detector``.

    Raises:
        AsvtkError: the weights are damaged, not finite, or those of another system.
    """
    layers, width, live = _heard(config, dataset, frontend)
    found = detector_shapes(path)
    system = {name: shape for name, shape in found.items() if not name.startswith("frontend.")}
    require_shapes(path, lambda: build_detector(config.model, config.loss, layers, width), system)
    detector = build_detector(config.model, config.loss, layers, width, live)
    load_detector(path, detector)
    return detector


def _heard(config: ExperimentConfig, dataset: UtteranceDataset, frontend) -> tuple:
    """Layers and numbers a frame that the system hears, and what makes them where that runs with it."""
    if mode_of(config.frontend) == "cached":
        return *dataset.feature_shape, None
    live = (frontend or build_frontend(config.frontend)).live_part()
    return len(live.layers), live.width, live


@torch.no_grad()
def sample_features(detector: Detector, dataset: UtteranceDataset, count: int) -> Iterator[Tensor]:
    """Clean features of up to ``count`` utterances, as the system hears them: each (layers, frames, d)."""
    for given in dataset.sample(count):
        if detector.frontend is not None:
            device = next(detector.parameters()).device
            lengths = torch.tensor([given.shape[1]], device=device)
            given = detector.frontend(given[None].to(device), lengths)[0][0]
        yield given


class TrainedSystem:
    """The best weights of an experiment whose training is over.

    Args:
        experiment: its folder.
        dump: folder of the feature caches.

    Attributes:
        experiment: the same.
        config: the experiment's configuration.
        best: file of the weights.

    Raises:
        AsvtkError: nothing was trained, or training has not finished.
    """

    def __init__(self, experiment: Experiment, dump):
        self.config, self.best = experiment.config(), experiment.checkpoints / "best.safetensors"
        if not experiment.done.exists():
            raise AsvtkError(
                f"{experiment.folder}: training has not finished; run stage 3 again, it goes on where it was"
            )
        self.experiment, self._dump, self._inputs = experiment, dump, experiment.inputs()
        self._frontend = None

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the weights, by which what was made with them knows them."""
        return file_digest(self.best)

    def open(self, data: DataDirectory) -> UtteranceDataset:
        """A data set as the system hears it.

        Raises:
            AsvtkError: its features are not there, or not the model that makes them.
        """
        frontend, prepare = self.config.frontend, None
        if mode_of(frontend) != "cached" and self._frontend is None:
            try:
                self._frontend = build_frontend(frontend)
            except AsvtkError as fault:
                raise AsvtkError(
                    f"{self.experiment.folder}: was trained with frontend.mode {frontend.mode} and needs its "
                    f"speech model: {fault}"
                ) from None
        if mode_of(frontend) == "live":
            prepare = self._frontend.prepare
        where = self.experiment.folder / "inputs.json"
        features = field_of(self._inputs, "features", str, where)
        layers = field_of(self._inputs, "layers", list, where)
        return open_dataset(data, self._dump, frontend, features, layers, prepare=prepare)

    def detector(self, dataset: UtteranceDataset) -> Detector:
        """The detector, for a data set that ``open`` gave.

        Raises:
            AsvtkError: the weights are damaged, or stand on another speech model than is there.
        """
        return trained_detector(self.best, self.config, dataset, self._frontend)

    def layers(self, detector: Detector) -> list[int]:
        """The layers that the detector hears."""
        return self._inputs["layers"] if detector.frontend is None else list(detector.frontend.layers)
