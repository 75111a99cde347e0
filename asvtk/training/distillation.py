"""Knowledge distillation: soft targets from the scores that a trained detector gave the training sets.

The target of an utterance is between its label and what the teacher says: with y = 1 for bona fide speech,
the teacher's calibrated log-likelihood ratio L, temperature T and weight w,

    (1 - w) y + w / (1 + exp(-L / T)).

Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015 (arXiv 1503.02531).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asvtk.io.datadir import BONAFIDE, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import read_scores

__all__ = ["DistillationConfig", "soft_targets"]


@dataclass(frozen=True)
class DistillationConfig:
    teacher: str  # folder of a finished experiment, of which stage 4 scored the training sets
    weight: float = 0.5  # of what the teacher says; the rest is the label's
    temperature: float = 2.0  # above 1: a teacher that has learned the training set by heart is less sure

    def __post_init__(self):
        if not 0 < self.weight <= 1:
            raise ValueError("weight must lie above 0, and be 1 at most")
        if not self.temperature > 0:
            raise ValueError("temperature must be positive")


def soft_targets(config: DistillationConfig, sets: list[DataDirectory]) -> dict[str, float]:
    """Probabilities of bona fide speech that a student learns, of each utterance of the training sets.

    Raises:
        AsvtkError: the teacher has no calibration, or did not score an utterance.
    """
    from asvtk.inference.calibration import DetectorCalibration

    teacher = Path(config.teacher)
    calibration = DetectorCalibration.load(teacher / "calibration.json")
    targets = {}
    for data in sets:
        path = teacher / "scores" / f"{data.name}.txt"
        if not path.exists():
            raise AsvtkError(
                f"{path}: no such file: the teacher has to score what the student is trained on. Run "
                f"./run.sh --experiment {teacher} --test-sets {data.name} --stage 2 --stop-stage 4"
            )
        table = read_scores(path)
        llr = calibration.window_llr(table.scores)
        soft = 0.5 * (1 + np.tanh(0.5 * llr / config.temperature))  # the logistic function, without overflow
        said = dict(zip(table.utterances, soft.tolist(), strict=True))
        for utterance, label in data.label.items():
            if utterance not in said:
                raise AsvtkError(
                    f"{path}: no score of {utterance}; run the teacher's stage 4 on {data.path} again"
                )
            targets[utterance] = (1 - config.weight) * (label == BONAFIDE) + config.weight * said[utterance]
    return targets
