"""Trained experiment: its detector with the best weights, its threshold on dev, and its package (stage 7)."""

import dataclasses
import functools
import json
from pathlib import Path

import safetensors.torch
import torch

from asvtk.frontends import build_frontend
from asvtk.inference.experiment import dev_sets, local_model, pooled_scores
from asvtk.inference.package import CALIBRATION, WEIGHTS, write_package
from asvtk.inference.weights import PREFIX, build_trained, part, prefixed, require_features_of
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.io.stamps import file_digest, read_stamp
from asvtk.io.text import read_json
from asvtk.metrics.eer import det_curve, eer
from asvtk.metrics.operating_point import operating_point
from asvtk.metrics.results import read_results
from asvtk.models import Detector
from asvtk.nn.weights import read_safetensors
from asvtk.training.calibration import current_calibration
from asvtk.training.checkpoint import read_tensors
from asvtk.training.dataset import UtteranceDataset, open_dataset
from asvtk.training.experiment import Experiment

__all__ = ["TrainedDetector", "pack", "threshold_on_dev"]


class TrainedDetector:
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
            config = self.config.frontend
            if (model := local_model(self.experiment.folder)) is not None:
                config = dataclasses.replace(config, model=model)
            frontend = build_frontend(config)
        except AsvtkError as fault:
            raise AsvtkError(f"{self.experiment.folder}: its front-end is not to be had: {fault}") from None
        require_features_of(self.experiment.folder, frontend)
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


def threshold_on_dev(experiment: Experiment) -> dict:
    """The threshold at the EER of dev, and the error rates that it gives there.

    Of several dev sets all trials count together.

    Raises:
        AsvtkError: training, scores or results are missing, or are not of each other.
    """
    best = experiment.checkpoints / "best.safetensors"
    if not experiment.done.exists():
        raise AsvtkError(f"{experiment.folder}: training has not finished; run stage 3 first")
    checkpoint = file_digest(best)
    names = dev_sets(experiment.folder)
    for path in sorted(experiment.scores(names[0]).parent.glob("*.txt")):
        if (read_stamp(path.with_name(f".{path.stem}.done")) or {}).get("checkpoint") != checkpoint:
            raise AsvtkError(f"{path}: is not of {best}; run stages 4 and 5 again")
    path = experiment.folder / "results.json"
    results = read_results(path) if path.exists() else {}
    for name in names:
        curve = _curve(pooled_scores(experiment.folder, [name]))
        if results.get(name, {}).get("eer_percent") != 100 * eer(curve.frr, curve.far)[0]:
            raise AsvtkError(f"{path}: is not of the scores there; run stage 5 again")
    if len(names) > 1:
        curve = _curve(pooled_scores(experiment.folder, names))
    return {"chosen": f"at the EER of {' + '.join(names)}", **operating_point(curve, "eer")}


def _curve(table: ScoreTable):
    if table.bonafide is None:
        raise AsvtkError(f"{table.source}: holds no keys; run stage 4 again")
    return det_curve(table.scores[table.bonafide], table.scores[~table.bonafide])


def pack(
    experiment: Experiment, out, card: str, licence: str | None = None, precision: str = "float32"
) -> None:
    """Write the package of a finished experiment in one step, with its calibration if there is one.

    Args:
        experiment: trained, scored and evaluated.
        out: the file to write or replace.
        card: text of the model card.
        licence: of the weights, if it is stated.
        precision: of the weights' matrices; ``float16`` halves the file. They are computed in float32.

    Raises:
        AsvtkError: see ``threshold_on_dev``; the front-end's model is not to be found any more; or the
            file cannot be written.
    """
    about = {
        "name": experiment.folder.name,
        **({"licence": licence} if licence else {}),
        "threshold": threshold_on_dev(experiment),
        "front-end": build_frontend(experiment.config().frontend).describe(),
        "layers": experiment.inputs()["layers"],
        "precision": precision,
    }
    environment = read_json(experiment.folder / "environment.json")
    environment.pop("host", None)  # is nobody's business
    members = {name: (experiment.folder / name).read_bytes() for name in ("config.yaml", "results.json")}
    members[WEIGHTS] = _weights(experiment.checkpoints / "best.safetensors", precision)
    members["card.md"] = card.encode()
    if current_calibration(experiment)[0] is not None:
        members[CALIBRATION] = experiment.calibration.read_bytes()
    members["environment.json"] = (json.dumps(environment, indent=1) + "\n").encode()
    write_package(out, about, members)


def _weights(path: Path, precision: str) -> bytes:
    """A file of weights, its matrices in another precision; vectors, such as statistics of features, stay."""
    if precision == "float32":
        return path.read_bytes()
    tensors, _ = read_safetensors(path)
    tensors = part(PREFIX, tensors)
    for name, x in tensors.items():
        if x.dtype == torch.float32 and x.ndim > 1 and not name.startswith("model.mvn."):
            tensors[name] = x.half()
            if not tensors[name].isfinite().all():
                raise AsvtkError(f"{path}: {name} has numbers that float16 cannot hold; pack it in float32")
    return safetensors.torch.save(prefixed(PREFIX, tensors))
