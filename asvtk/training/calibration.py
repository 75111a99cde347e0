"""Calibration of an experiment (stage 5).

    EXP/calibration.json     of `asvtk.inference.calibration.DetectorCalibration`
    EXP/.calibration.done    what it was made of; or why there is none, as ``uncalibrated``

Quick to import: torch comes when there is something to fit.
"""

import importlib.util

from asvtk.inference.calibration import PRIOR, DetectorCalibration
from asvtk.inference.experiment import CALIBRATED, DEV, dev_sets, local_model, pooled_scores
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from asvtk.training.experiment import Experiment

__all__ = ["CalibrationStage", "current_calibration"]

_FORM = 1  # raised when the same scores and audio give another calibration than before
_REASON = "uncalibrated"


class CalibrationStage:
    """The calibration of one experiment: whether it is there, and how it is made.

    Several dev sets (``DataDirectory.union``) are pooled: their trials are taken for those of one set, in
    which each class weighs what the prior says and each trial of a class as much as any other, whatever set
    it is of. A scale and an offset serve them all. Errors are measured on all trials of the eval sets
    together.

    Args:
        experiment: trained, dev scored.
        dev, evaluation, train: its data sets, each one or a union of several.

    Raises:
        AsvtkError: scores are missing, or are not those of the best checkpoint.
    """

    def __init__(
        self,
        experiment: Experiment,
        dev: DataDirectory,
        evaluation: DataDirectory | None = None,
        train: DataDirectory | None = None,
    ):
        self.experiment, self._sets = experiment, (dev, evaluation, train)
        scored = [part for data in (dev, evaluation) if data is not None for part in data.parts]
        paths = {data.name: experiment.scores(data.name) for data in scored}
        for path in paths.values():
            if not path.exists():
                raise AsvtkError(f"{path}: no such score file; run stage 4 (asvtk score) first")
        checkpoint = _checkpoint(experiment)
        for path in paths.values():
            if (read_stamp(path.with_name(f".{path.stem}.done")) or {}).get("checkpoint") != checkpoint:
                raise AsvtkError(f"{path}: is not of the best checkpoint; run stage 4 again")
        self._basis = {
            "form": _FORM,
            "checkpoint": checkpoint,
            "scores": {name: file_digest(path) for name, path in paths.items()},
            "data": [None if data is None else data.digest() for data in self._sets],
            "prior": PRIOR,
            "scikit-learn": importlib.util.find_spec("sklearn") is not None,  # tried again when it comes
        }
        if (names := [part.name for part in dev.parts]) != [DEV]:
            self._basis["dev"] = names

    def is_done(self) -> bool:
        """Whether the calibration is there, or cannot be made, of these scores and data."""
        stamp = read_stamp(_stamp(self.experiment)) or {}
        reason = stamp.pop(_REASON, None)
        return stamp == self._basis and (reason is not None or self.experiment.calibration.exists())

    def compute(self, device: str) -> str:
        """Fit and write it; returns why there is none, or nothing. An older one is gone in either case."""
        from asvtk.inference.fitting import fit_calibration
        from asvtk.inference.load import load

        dev, evaluation, train = self._sets
        _stamp(self.experiment).unlink(missing_ok=True)
        self.experiment.calibration.unlink(missing_ok=True)
        try:
            fitted = fit_calibration(
                load(self.experiment.folder, device, ssl_model=local_model(self.experiment.folder)),
                dev,
                evaluation,
                train,
                dev_scores=pooled_scores(self.experiment.folder, dev.parts),
                eval_scores=evaluation and pooled_scores(self.experiment.folder, evaluation.parts),
            )
        except AsvtkError as fault:
            write_stamp(_stamp(self.experiment), self._basis | {_REASON: str(fault)})
            return str(fault)
        fitted.calibration.save(self.experiment.calibration)
        write_stamp(_stamp(self.experiment), self._basis)
        return ""


def current_calibration(experiment: Experiment) -> tuple[DetectorCalibration | None, str]:
    """The calibration of an experiment, if it is of its scores of dev; else None, and a sentence why.

    Raises:
        AsvtkError: it is damaged.
    """
    path, stamp = experiment.calibration, read_stamp(_stamp(experiment)) or {}
    if reason := stamp.get(_REASON):
        return None, f"uncalibrated: {reason}"
    if not path.exists():
        return None, ""
    scores = field_of(stamp, "scores", dict, str(_stamp(experiment))) if stamp else {}
    paths = {name: experiment.scores(name) for name in dev_sets(experiment.folder)}
    of_dev = all(path.exists() and scores.get(name) == file_digest(path) for name, path in paths.items())
    if not of_dev or stamp.get("checkpoint") != _checkpoint(experiment):
        return None, f"uncalibrated: {path} is of other scores of dev; run stage 5 again"
    return DetectorCalibration.load(path), ""


def _stamp(experiment: Experiment):
    return experiment.folder / CALIBRATED


def _checkpoint(experiment: Experiment) -> str:
    best = experiment.checkpoints / "best.safetensors"
    if not experiment.done.exists() or not best.exists():
        raise AsvtkError(f"{experiment.folder}: training has not finished; run stage 3 first")
    return file_digest(best)
