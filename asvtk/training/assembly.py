"""The trained system of an experiment on data sets whose features are cached."""

import functools

from asvtk.frontends import build_frontend
from asvtk.frontends.cache.store import cache_name
from asvtk.inference.weights import build_trained
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.stamps import file_digest
from asvtk.models import Detector
from asvtk.training.checkpoint import read_tensors
from asvtk.training.data import UtteranceDataset, open_dataset
from asvtk.training.experiment_folder import Experiment

__all__ = ["TrainedSystem"]


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
        self.experiment, self._dump = experiment, dump

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the weights, by which what was made with them knows them."""
        return file_digest(self.best)

    @functools.cached_property
    def frontend(self):
        """That of the configuration, without its weights."""
        try:
            frontend = build_frontend(self.config.frontend)
        except AsvtkError as fault:
            raise AsvtkError(f"{self.experiment.folder}: its front-end is not to be had: {fault}") from None
        theirs = field_of(self.experiment.inputs(), "features", str, self.experiment.folder / "inputs.json")
        if (ours := cache_name(frontend)) != theirs:
            raise AsvtkError(
                f"{self.experiment.folder}: was trained on the features {theirs}, and its front-end makes "
                f"{ours} now: another model lies there, or another version of asvtk made them; train it anew"
            )
        return frontend

    def open(self, data: DataDirectory) -> UtteranceDataset:
        """A data set as the system hears it.

        Raises:
            AsvtkError: its features are not there, or not the model that makes them.
        """
        return open_dataset(data, self._dump, self.frontend)

    def detector(self) -> Detector:
        """The detector.

        Raises:
            AsvtkError: the weights are damaged, or stand on another speech model than is there.
        """
        tensors, _ = read_tensors(self.best)
        detector = build_trained(self.best, self.config, tensors, self.frontend)
        if not self.frontend.stored:
            self.frontend.load()
        return detector
