"""Detection: what is said of one recording, with its timeline, and how it is written down."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from asvtk.io.datadir import BONAFIDE, SPOOF
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.text import parse_json

__all__ = ["NO_SPEECH", "UNDECIDED", "VERDICTS", "Detection", "Segment", "probability_of_spoof"]

NO_SPEECH = "no_speech"  #: nothing can be said of its origin: silence, noise, music, or too little speech
UNDECIDED = "undecided"  #: there is a score, and neither a calibration nor a threshold to read it by
VERDICTS = (BONAFIDE, SPOOF, NO_SPEECH, UNDECIDED)


class Segment(NamedTuple):
    """A stretch of a recording that one verdict holds for."""

    start: float  # seconds
    end: float
    verdict: str
    llr: float | None  # mean of the timeline; None: no speech, or no calibration


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a detector says of a recording.

    Attributes:
        file: its name as it was given.
        verdict: ``bonafide``, ``spoof``, ``no_speech``, or ``undecided`` where the detector has neither a
            calibration nor a threshold. A recording is spoofed if it scores below the threshold as a whole,
            or if a segment of it does.
        score: of the whole recording, as the detector gives it, higher = bona fide; None: no speech.
        llr: calibrated log-likelihood ratio (natural logarithm), positive = bona fide; None: uncalibrated.
        probability: of spoofed speech, by ``llr`` and ``prior``; None: uncalibrated.
        threshold: bona fide lies above it: of ``llr``, or of ``score`` where there is no calibration.
        prior: probability of spoofed speech before anything was heard.
        pooling: how the windows' scores became one.
        error_rates: what this threshold gave on trials with keys: ``data``, ``bonafide``, ``spoof`` (how many
            trials), ``frr`` (bona fide rejected) and ``far`` (spoofs accepted); None: nobody measured.
        duration, speech: seconds.
        window, hop: seconds of what a score is of, and from one to the next.
        timeline: cells of a hop, (start, end, llr), of the score where there is no calibration; None where
            nobody speaks.
        segments: the recording cut by verdicts.
        warnings: why this verdict may mean less than others, in words.
        notes: what was done to the recording before it was heard.
        model, model_sha256: which detector.
    """

    file: str
    verdict: str
    score: float | None
    llr: float | None
    probability: float | None
    threshold: float | None
    prior: float
    pooling: str
    error_rates: dict | None
    duration: float
    speech: float
    window: float
    hop: float
    model: str
    model_sha256: str
    segments: tuple[Segment, ...] = ()
    timeline: tuple[tuple[float, float, float | None], ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def spoofed(self) -> float:
        """Seconds of segments that are called spoofed."""
        return sum(part.end - part.start for part in self.segments if part.verdict == SPOOF)

    def to_dict(self) -> dict:
        """All of it, as JSON can hold it; times to the millisecond."""
        content = asdict(self)
        content["segments"] = [part._asdict() for part in self.segments]
        return _rounded(content)

    def to_json(self) -> str:
        """``to_dict`` in one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, line: str, where: str) -> "Detection":
        """Read what ``to_json`` wrote.

        Args:
            line: the text.
            where: file and line, for messages.

        Raises:
            AsvtkError: it is something else.
        """
        content = parse_json(line, where)
        names = cls.__dataclass_fields__
        if not isinstance(content, dict) or content.keys() != names.keys():
            raise AsvtkError(f"{where}: expected a line that asvtk detect wrote")
        for name in ("file", "verdict", "model", "model_sha256"):
            field_of(content, name, str, where)
        for name in ("segments", "timeline", "warnings", "notes"):
            content[name] = tuple(field_of(content, name, list, where))
        try:
            content["segments"] = tuple(Segment(**part) for part in content["segments"])
            content["timeline"] = tuple((start, end, value) for start, end, value in content["timeline"])
        except (TypeError, ValueError):
            raise AsvtkError(f"{where}: expected a line that asvtk detect wrote") from None
        return cls(**content)

    def to_rttm(self) -> str:
        """The segments in NIST's RTTM form, a line each; those without speech are left out."""
        name = "_".join(self.file.split()) or "-"
        lines = []
        for part in self.segments:
            if part.verdict != NO_SPEECH:
                times = f"{part.start:.3f} {part.end - part.start:.3f}"
                lines.append(f"SPEAKER {name} 1 {times} <NA> <NA> {part.verdict} <NA> <NA>\n")
        return "".join(lines)

    def plot(self, axes=None):
        """Draw the timeline with matplotlib; returns the axes.

        Raises:
            AsvtkError: matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot
        except ImportError:
            raise AsvtkError("plots need matplotlib: pip install 'asvtk[report]'") from None
        axes = axes or pyplot.subplots(figsize=(9, 2.5), layout="constrained")[1]
        starts = [start for start, _, _ in self.timeline]
        values = [math.nan if value is None else value for *_, value in self.timeline]
        axes.step(starts, values, where="post")
        for part in self.segments:
            if part.verdict == SPOOF:
                axes.axvspan(part.start, part.end, alpha=0.2, color="tab:red")
        if self.threshold is not None:
            axes.axhline(self.threshold, linestyle="--", linewidth=1)
        kind = "score" if self.llr is None else "log-likelihood ratio"
        axes.set(xlabel="seconds", ylabel=f"{kind}, higher = bona fide", title=f"{self.file}: {self.verdict}")
        return axes


def probability_of_spoof(llr: float, prior: float) -> float:
    """Posterior probability of spoofed speech.

    Args:
        llr: log-likelihood ratio, natural logarithm, positive = bona fide.
        prior: of spoofed speech, between 0 and 1.
    """
    log_odds = math.log(prior / (1 - prior)) - llr
    if log_odds < 0:
        return math.exp(log_odds) / (1 + math.exp(log_odds))
    return 1 / (1 + math.exp(-log_odds))


def _rounded(value):
    """Numbers without digits that mean nothing: six behind the point."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
