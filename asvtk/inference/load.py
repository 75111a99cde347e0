"""``asvtk.load``: a trained detector from a package, an experiment, published weights or an ONNX file."""

from pathlib import Path

from asvtk.inference.calibration import DetectorCalibration
from asvtk.inference.detector import RecordingDetector
from asvtk.inference.pretrained import find_pretrained, require_model
from asvtk.io.errors import AsvtkError

__all__ = ["load"]


def load(path, device: str = "cpu", *, ssl_model=None, calibration=None) -> RecordingDetector:
    """A trained detector, ready to score.

    Args:
        path: a packed model (stage 7), the folder of an experiment, weights as their authors publish them, or
            a file that ``asvtk export`` wrote, whose name ends in ``.onnx``: torch is not needed for that. Or
            a name of `asvtk models ls`, or ``hf:owner/name[@revision]``: these are fetched once.
        device: ``cpu`` or ``cuda``.
        ssl_model: directory of the front-end's speech model, where it is not where it was in training.
        calibration: file that ``asvtk calibrate --detector`` wrote, instead of what the detector brings.

    Raises:
        AsvtkError: it is none of these, or cannot be fetched; it is damaged; or the front-end is not the one
            of the training.
    """
    if str(path).lower().endswith(".onnx"):
        from asvtk.inference.onnx_detector import OnnxDetector

        if ssl_model is not None:
            raise AsvtkError(f"{path}: an ONNX file holds the whole front-end; leave ssl_model out")
        if device != "cpu":
            raise AsvtkError(f"{path}: ONNX files are computed on the CPU; give --ngpu 0")
        detector = OnnxDetector.load(Path(path).expanduser())
    else:
        require_model(path)
        from asvtk.inference.trained import load_trained

        detector = load_trained(find_pretrained(path), device, ssl_model)
    if calibration is not None:
        detector.calibration = DetectorCalibration.load(calibration)
    return detector
