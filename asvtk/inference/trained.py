"""Trained detectors for torch, from a package, an experiment or published weights."""

import dataclasses
import logging
from pathlib import Path

from asvtk.frontends import build_frontend
from asvtk.inference.calibration import DetectorCalibration
from asvtk.inference.experiment import dev_sets, local_model, pooled_scores
from asvtk.inference.package import ABOUT, CALIBRATION, WEIGHTS, Package, is_package, read_package
from asvtk.inference.pretrained import expected_model
from asvtk.inference.published import load_published
from asvtk.inference.torch_detector import TorchDetector
from asvtk.inference.weights import build_trained, require_features_of
from asvtk.io.config import differences, load_yaml, parse_yaml
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import file_digest
from asvtk.metrics.eer import det_curve
from asvtk.metrics.operating_point import operating_point
from asvtk.models.config import DetectorConfig
from asvtk.nn.weights import read_safetensors

__all__ = ["load_trained"]

_log = logging.getLogger(__name__)


def load_trained(path: Path, device: str, ssl_model) -> TorchDetector:
    """As ``asvtk.load``, of all but ONNX files; with the calibration that the detector brings."""
    if is_package(path):
        detector = _from_package(read_package(path), ssl_model)
    elif path.is_dir() and (path / "config.yaml").exists():
        detector = _from_experiment(path, ssl_model)
    elif path.is_dir():
        raise AsvtkError(f"{path}: a folder without {ABOUT} or config.yaml; {expected_model()}")
    elif ssl_model is not None:
        raise AsvtkError(f"{path}: no packed model, and nothing else has an ssl_model; {expected_model()}")
    else:
        try:
            detector, note = load_published(path)
        except AsvtkError as error:
            raise AsvtkError(f"{str(error).partition('; expected ')[0]}; {expected_model()}") from None
        if note:
            _log.info(note)
    detector.frontend.load()
    return detector.to(device).eval()


def _from_package(package: Package, ssl_model) -> TorchDetector:
    where = f"{package.source}: config.yaml"
    config = DetectorConfig.of(parse_yaml(package.text("config.yaml"), where), where)
    frontend = _front_end(config, package.source, ssl_model)
    # Older packages also say what the model's directory was called.
    theirs = {**package.about["front-end"]}
    theirs.pop("model", None)
    if changes := differences(theirs, frontend.describe()):
        raise AsvtkError(
            f"{where}: the front-end here is not the one of the training:\n  "
            + "\n  ".join(changes)
            + "\nname the model it was trained with, or score with the asvtk of its environment.json"
        )
    detector = TorchDetector.of(
        build_trained(f"{package.source}: {WEIGHTS}", config, package.weights(), frontend)
    )
    detector.name, detector.threshold = package.about["name"], package.threshold
    detector.sha256 = package.about["files"][WEIGHTS]["sha256"]
    if CALIBRATION in package.members:
        where = f"{package.source}: {CALIBRATION}"
        detector.calibration = DetectorCalibration.parse(package.text(CALIBRATION), where)
    return detector


def _from_experiment(folder: Path, ssl_model) -> TorchDetector:
    path, best = folder / "config.yaml", folder / "checkpoints" / "best.safetensors"
    if not best.exists():
        raise AsvtkError(f"{folder}: has no checkpoints/best.safetensors: nothing was trained there yet")
    config = DetectorConfig.of(load_yaml(path), str(path))
    frontend = _front_end(config, str(folder), ssl_model or local_model(folder))
    require_features_of(folder, frontend)
    tensors, _ = read_safetensors(best)
    detector = TorchDetector.of(build_trained(best, config, tensors, frontend))
    detector.name, detector.sha256 = folder.resolve().name, file_digest(best)
    if (calibration := folder / CALIBRATION).exists():
        detector.calibration = DetectorCalibration.load(calibration)
    names = dev_sets(folder)
    if all((folder / "scores" / f"{name}.txt").exists() for name in names):
        table = pooled_scores(folder, names)
        if table.bonafide is not None and 0 < table.bonafide.sum() < len(table.bonafide):
            curve = det_curve(table.scores[table.bonafide], table.scores[~table.bonafide])
            detector.threshold = operating_point(curve, "eer")["threshold"]
    return detector


def _front_end(config: DetectorConfig, source: str, ssl_model):
    frontend = config.frontend
    if ssl_model is not None:
        if not hasattr(frontend, "model"):
            raise AsvtkError(f"{source}: ssl_model: the front-end {frontend.name} has no model")
        frontend = dataclasses.replace(frontend, model=str(ssl_model))
    try:
        return build_frontend(frontend)
    except AsvtkError as error:
        if ssl_model is None and hasattr(frontend, "model"):
            raise AsvtkError(f"{error}; --ssl-model DIR says where the front-end's model is here") from None
        raise
