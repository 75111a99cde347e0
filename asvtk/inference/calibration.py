"""Calibration of a detector: what its scores mean, its measured errors, and what it was trained on.

Stage 5 writes it beside an experiment (``calibration.json``), stage 7 packs it, and
``asvtk calibrate --detector`` makes it of any detector.
"""

import bisect
import json
from dataclasses import dataclass

import numpy as np

from asvtk.io.atomic import write_text
from asvtk.io.config import build, to_mapping
from asvtk.io.stamps import digest
from asvtk.io.text import parse_json, read_text
from asvtk.metrics.calibration import Calibration

__all__ = ["PRIOR", "DetectorCalibration", "ErrorCurve", "Reference"]

PRIOR = 0.5  #: of bona fide speech, where nobody says otherwise: both errors cost the same
_EXPECTED = "expected the calibration of a detector, as stage 5 and `asvtk calibrate --detector` write it"


@dataclass(frozen=True, kw_only=True)
class ErrorCurve:
    """Error rates of a detector, measured on trials with keys, over the threshold of the LLR.

    Attributes:
        data: name of the data set.
        bonafide, spoof: how many trials.
        thresholds: ascending, natural logarithm.
        frr: share of bona fide trials at or below each threshold.
        far: share of spoofs above it.
    """

    data: str
    bonafide: int
    spoof: int
    thresholds: tuple[float, ...]
    frr: tuple[float, ...]
    far: tuple[float, ...]

    def __post_init__(self):
        if not len(self.thresholds) == len(self.frr) == len(self.far) > 0:
            raise ValueError("thresholds, frr and far must be equally long")
        if list(self.thresholds) != sorted(self.thresholds):
            raise ValueError("thresholds must ascend")

    def at(self, threshold: float) -> dict:
        """The rates at the last threshold that is not above the one asked for, as a `Detection` has them."""
        place = max(0, bisect.bisect_right(self.thresholds, threshold) - 1)
        return {
            "data": self.data,
            "bonafide": self.bonafide,
            "spoof": self.spoof,
            "frr": self.frr[place],
            "far": self.far[place],
        }


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the bona fide speech of training is like, so that recordings unlike it can be told.

    Attributes:
        recordings: how many were measured.
        ranges: name of a measurement (``asvtk.inference.likeness``) -> its 1st and 99th percentile.
        embedding: mean of the embeddings, (d_embedding,).
        deviation: standard deviations of their elements.
        farthest: 99th percentile of their distances from the mean, in these deviations (root mean square).
    """

    recordings: int
    ranges: dict[str, tuple[float, ...]]
    embedding: tuple[float, ...]
    deviation: tuple[float, ...]
    farthest: float

    def __post_init__(self):
        if any(len(pair) != 2 for pair in self.ranges.values()):
            raise ValueError("ranges: expected two numbers each")
        if len(self.embedding) != len(self.deviation):
            raise ValueError("embedding and deviation must be equally long")

    def distance(self, embedding) -> float:
        """Root mean square of an embedding's deviations from the mean, (d_embedding,) or (n, d_embedding)."""
        deviations = (np.asarray(embedding, np.float64) - self.embedding) / self.deviation
        return np.sqrt(np.square(deviations).mean(axis=-1))


@dataclass(frozen=True, kw_only=True)
class DetectorCalibration:
    """Calibration of a detector, trained on dev.

    Attributes:
        window: of the score of one window.
        recording: of the mean score of a recording's windows; equal to ``window``, with a warning, where dev
            has too few recordings that are longer than one.
        errors: of recordings, measured on eval, or on dev where there is none; those of an experiment are of
            the head of each recording, which is what stage 4 scores.
        reference: of the training's bona fide speech.
    """

    window: Calibration
    recording: Calibration
    errors: ErrorCurve | None = None
    reference: Reference | None = None

    def window_llr(self, scores) -> np.ndarray:
        """LLRs (natural logarithm) of windows' scores, (n,) -> (n,)."""
        return self.window.apply(np.asarray(scores, np.float64)[None])

    def recording_llr(self, score: float) -> float:
        """LLR of the mean score of a recording's windows."""
        return float(self.recording.apply([[score]])[0])

    def to_json(self) -> str:
        return json.dumps(to_mapping(self), ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return digest(to_mapping(self))

    def save(self, path) -> None:
        """Write as JSON, in one step."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path) -> "DetectorCalibration":
        """Read what ``save`` wrote.

        Raises:
            AsvtkError: the file is missing, or is something else.
        """
        return cls.parse(read_text(path), str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> "DetectorCalibration":
        """The same from text; ``where`` names it in messages."""
        return build(cls, parse_json(text, where), f"{where} ({_EXPECTED})")
