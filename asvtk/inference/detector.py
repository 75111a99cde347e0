"""Trained detectors on recordings of any length: windows, verdicts, timelines and streams.

Nothing here needs torch: what scores windows is `TorchDetector` or `OnnxDetector`.
"""

import abc
import functools
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asvtk.frontends.crop import Crop
from asvtk.inference import likeness
from asvtk.inference.calibration import DetectorCalibration
from asvtk.inference.detection import NO_SPEECH, UNDECIDED, Detection, probability_of_spoof
from asvtk.inference.segments import cells_of_windows, find_segments
from asvtk.inference.shared import SharedBatches
from asvtk.inference.speech import FRAME, MIN_SPEECH, hear_rows, speech_probabilities, speech_seconds
from asvtk.inference.windows import MOST_WORKERS, Heard, WindowScorer, Workers
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.datadir import BONAFIDE, SPOOF
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError
from asvtk.io.recording import Stream as RecordingStream
from asvtk.io.recording import stream_recording, to_mono_16k

__all__ = ["POOLINGS", "DetectConfig", "RecordingDetector", "Stream"]

_WINDOW = 64_600 / SAMPLE_RATE  # seconds, of a front-end that hears whole utterances
POOLINGS = ("mean", "min", "trimmed")
_TRIMMED = 0.1
_FIRST_ANSWER = 2.0 - FRAME / SAMPLE_RATE  # seconds of speech, in whole frames


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """How recordings are judged.

    Attributes:
        prior: probability of spoofed speech before anything was heard, between 0 and 1.
        threshold: bona fide lies above it: of the calibrated log-likelihood ratio, or of the score of a
            detector without calibration. None: what follows from the prior where both errors cost the
            same; without calibration, the threshold that the detector brings.
        hop: seconds from one window to the next.
        window: seconds; None: what the detector was trained on.
        pooling: of windows' scores: their ``mean``; the ``min``, which a short spoof cannot hide from and a
            long bona fide recording seldom passes; or the mean ``trimmed`` of the tenth at either end.
        min_speech: seconds of speech below which the verdict is ``no_speech``.
        channel: which channel to hear, from 1; None: their mean, or the loudest where they cancel out.

    Raises:
        AsvtkError: a value that makes no sense.
    """

    prior: float = 0.5
    threshold: float | None = None
    hop: float = 1.0
    window: float | None = None
    pooling: str = "mean"
    min_speech: float = MIN_SPEECH
    channel: int | None = None

    def __post_init__(self):
        if not 0 < self.prior < 1:
            raise AsvtkError(
                f"prior {self.prior}: expected a probability above 0 and below 1; 0.5 is undecided"
            )
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise AsvtkError(f"threshold {self.threshold}: expected a finite number")
        if not 0.1 <= self.hop <= 60:
            raise AsvtkError(f"hop {self.hop}: expected 0.1 to 60 seconds")
        if self.window is not None and not 0.25 <= self.window <= 60:
            raise AsvtkError(f"window {self.window}: expected 0.25 to 60 seconds")
        if self.pooling not in POOLINGS:
            raise AsvtkError(f"pooling {self.pooling}: expected one of {', '.join(POOLINGS)}")
        if not 0.25 <= self.min_speech <= 60:
            raise AsvtkError(f"min_speech {self.min_speech}: expected 0.25 to 60 seconds")
        if self.channel is not None and self.channel < 1:
            raise AsvtkError(f"channel {self.channel}: they are counted from 1")


class RecordingDetector(abc.ABC):
    """Trained detector, as ``asvtk.load`` gives it: scores waveforms and judges recordings.

    Attributes:
        name: what it was packed or trained as.
        threshold: scores above it were called bona fide on dev; None where none was chosen.
        calibration: what its scores mean; None: nobody has measured it.
        sha256: of its weights.
        shared: scores windows of recordings and streams that are judged at once; None: each scores its own.
        shared_speech: looks for speech in streams at once; None: each looks itself.
    """

    name = ""
    threshold: float | None = None
    calibration: DetectorCalibration | None = None
    sha256 = ""
    shared: SharedBatches | None = None
    shared_speech: SharedBatches | None = None

    @property
    @abc.abstractmethod
    def crop(self) -> Crop:
        """How much of a recording a score is of."""

    @abc.abstractmethod
    def score(self, audio, sample_rate: int = SAMPLE_RATE) -> float:
        """Score of a recording, of as much as ``crop`` says, higher = bona fide."""

    @abc.abstractmethod
    def score_batch(self, audios: Iterable, sample_rate: int = SAMPLE_RATE):
        """Scores of recordings: an array, or a tensor on the CPU, float32 (recordings,)."""

    @abc.abstractmethod
    def score_windows(self, windows: list) -> tuple[np.ndarray, np.ndarray]:
        """Scores and embeddings of windows: (windows,), (windows, d_embedding).

        A window is audio, float32 (samples,), or what ``extension`` made of it. Several threads may call it
        at once.

        Raises:
            AsvtkError: a score is not finite.
        """

    def extension(self, samples: int) -> Callable[[int, np.ndarray], object] | None:
        """For one stream: what computes features of windows of ``samples`` from what is new in each.

        It takes a window's first sample in the stream, and its audio. None: a window is scored as audio.
        """
        return None

    @abc.abstractmethod
    def workers(self, most: int) -> Workers:
        """Threads, ``most`` at the most, that call ``score_windows`` side by side."""

    @abc.abstractmethod
    def use_threads(self, count: int) -> None:
        """Compute with so many threads of the CPU, where nothing was computed yet."""

    def detect(
        self,
        recording,
        sample_rate: int | None = None,
        config: DetectConfig | None = None,
        progress: Callable[[float, float | None], None] | None = None,
        **changes,
    ) -> Detection:
        """Judge a recording of any length.

        >>> detection = detector.detect("interview.m4a", prior=0.1)         # doctest: +SKIP
        >>> detection.verdict, detection.probability, detection.segments    # doctest: +SKIP

        Args:
            recording: a file of any kind, or an array or tensor as ``score`` takes it.
            sample_rate: Hz of an array.
            config: how to judge; keyword arguments change it.
            progress: is told how many seconds were heard, of how many (None: its header does not say).

        Raises:
            AsvtkError: it cannot be read; or a value of the configuration makes no sense.
        """
        config = replace(config or DetectConfig(), **changes)
        channel = None if config.channel is None else config.channel - 1

        def read(open_sink):
            if isinstance(recording, (str, Path)):
                return stream_recording(recording, open_sink, channel)
            if sample_rate is None:
                raise AsvtkError("an array needs its sample_rate")
            open_sink(None)(to_mono_16k(recording, sample_rate))
            return RecordingStream((), "")

        name = path_text(recording) if isinstance(recording, (str, Path)) else "array"
        return self.detect_read(name, read, config, progress)

    def detect_read(
        self,
        name: str,
        read: Callable[[Callable], RecordingStream],
        config: DetectConfig,
        progress: Callable[[float, float | None], None] | None = None,
    ) -> Detection:
        """Judge what a function reads.

        Args:
            name: what to call it.
            read: is given ``open_sink`` and does with it as `stream_recording`, which it may be.
            config: how to judge.
            progress: as ``detect``.

        Raises:
            AsvtkError: there is nothing in it. What ``read`` raises comes through.
        """
        scorers: list[WindowScorer] = []

        def open_sink(seconds=None):
            for scorer in scorers:  # of a decoder that gave up midway
                scorer.close()
            scorers[:] = [self.window_scorer(config)]
            if progress is None:
                return scorers[0].push

            def push(samples):
                scorers[0].push(samples)
                progress(scorers[0].samples / SAMPLE_RATE, seconds)

            return push

        try:
            stream = read(open_sink)
            notes = stream.changes
            if stream.doubt:
                notes += (f"it may be cut off ({stream.doubt})",)
            return self.judge(name, scorers[0].finish(), config, notes)
        finally:
            for scorer in scorers:
                scorer.close()

    def stream(self, config: DetectConfig | None = None, name: str = "stream", **changes) -> "Stream":
        """Judge audio while it comes: 16 kHz, one channel."""
        return Stream(self, replace(config or DetectConfig(), **changes), name)

    def window_seconds(self, config: DetectConfig) -> float:
        """How long a window is."""
        if config.window is not None:
            return config.window
        crop = self.crop.samples
        return _WINDOW if crop is None else crop / SAMPLE_RATE

    def window_scorer(self, config: DetectConfig, eager: bool = False) -> WindowScorer:
        """A scorer of one recording's windows."""
        window = self.window_seconds(config)
        least = min(config.min_speech, window / 2)
        samples, hop = (round(seconds * SAMPLE_RATE) for seconds in (window, config.hop))
        score = self.score_windows if self.shared is None else self.shared
        workers = self.workers(1 if eager else MOST_WORKERS)
        extend = self.extension(samples) if eager else None
        look = functools.partial(speech_probabilities, hear=self._hear) if eager and self.shared else None
        return WindowScorer(score, samples, hop, least, eager, workers, extend, look)

    def share_batches(self, **options) -> None:
        """From now on, score windows of all recordings and streams in common batches: see `SharedBatches`.

        Speech is looked for in common batches of streams, too.
        """
        self.shared = SharedBatches(self.score_windows, **options)
        self.shared_speech = SharedBatches(lambda rows: (hear_rows(rows),), name="speech")

    def close_batches(self) -> None:
        """Score what waits, and end the threads that ``share_batches`` has begun."""
        self.shared_speech.close()
        self.shared.close()

    def _hear(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        return self.shared_speech(rows)[0]

    def judge(self, name: str, heard: Heard, config: DetectConfig, notes: tuple[str, ...] = ()) -> Detection:
        """The verdict on what was heard of a recording.

        Args:
            name: what to call it.
            heard: its windows and their scores.
            config: how to judge.
            notes: what was done to it before.
        """
        window, duration = self.window_seconds(config), heard.samples / SAMPLE_RATE
        if not heard.samples:
            raise AsvtkError(f"{name}: holds no samples")
        speech = min(speech_seconds(heard.probabilities), duration)
        threshold = self.decision_threshold(config)
        score = llr = probability = None
        segments, timeline = (), ()
        if len(heard.scores) and speech >= config.min_speech:
            score = _pool(heard.scores, config.pooling)
            values = heard.scores
            if self.calibration is not None:
                values = self.calibration.window_llr(values)
                of_recording = len(values) > 1 and config.pooling != "min"
                llr = self.calibration.recording_llr(score) if of_recording else _pool(values, config.pooling)
                probability = probability_of_spoof(llr, config.prior)
            cells = cells_of_windows(heard.starts / SAMPLE_RATE, values, window, config.hop, duration)
            spoken = _spoken(heard.probabilities, len(cells), config.hop)
            timeline = tuple(
                (i * config.hop, min((i + 1) * config.hop, duration), float(value) if here else None)
                for i, (value, here) in enumerate(zip(cells, spoken & np.isfinite(cells), strict=True))
            )
            if self.calibration is not None and threshold is not None:
                segments = find_segments(cells, spoken, threshold, window, config.hop, duration)
        return Detection(
            file=name,
            verdict=self._verdict(score, llr, threshold, segments),
            score=score,
            llr=llr,
            probability=probability,
            threshold=threshold,
            prior=config.prior,
            pooling=config.pooling,
            error_rates=self._error_rates(threshold),
            duration=duration,
            speech=speech,
            window=window,
            hop=config.hop,
            timeline=timeline,
            segments=segments,
            warnings=tuple(self._warnings(heard, config, llr, threshold)),
            notes=notes,
            model=self.name,
            model_sha256=self.sha256,
        )

    def decision_threshold(self, config: DetectConfig) -> float | None:
        """Bona fide lies above it; None: there is neither a calibration nor a threshold."""
        if config.threshold is not None:
            return config.threshold
        return self.threshold if self.calibration is None else math.log(config.prior / (1 - config.prior))

    def _error_rates(self, threshold: float | None) -> dict | None:
        if threshold is None or self.calibration is None or self.calibration.errors is None:
            return None
        return self.calibration.errors.at(threshold)

    def _verdict(self, score, llr, threshold: float | None, segments) -> str:
        if score is None:
            return NO_SPEECH
        if threshold is None:
            return UNDECIDED
        spoofed = (score if llr is None else llr) <= threshold or any(x.verdict == SPOOF for x in segments)
        return SPOOF if spoofed else BONAFIDE

    def _warnings(self, heard: Heard, config: DetectConfig, llr, threshold):
        crop = self.crop.samples
        window = self.window_seconds(config)
        if crop is not None and abs(window - crop / SAMPLE_RATE) > 0.01:
            yield f"windows of {window:.2f} s; {self.name} was trained on {crop / SAMPLE_RATE:.2f} s"
        if self.calibration is None:
            yield "uncalibrated: the score is no probability; asvtk calibrate --detector fits one"
            return
        yield from (self.calibration.recording if len(heard.scores) > 1 else self.calibration.window).warnings
        if (reference := self.calibration.reference) is None or not len(heard.scores):
            return
        for line in likeness.unlike(heard.measured, reference.ranges):
            yield f"unlike the training data: {line}"
        distance = reference.distance(heard.embedding)
        if llr is not None and llr > threshold and distance > reference.farthest:
            yield (
                f"unlike the training data: its embedding lies {distance:.2f} from the mean of bona fide "
                f"training speech, 99 % of which lie within {reference.farthest:.2f}"
            )


class Stream:
    """Detection of audio while it comes, at 16 kHz, one channel.

    The first answer comes after two seconds of speech, of all that was heard so far; then one each hop,
    of the last window.

    Args:
        detector: on its device.
        config: how to judge.
        name: what to call it.
    """

    def __init__(self, detector: RecordingDetector, config: DetectConfig, name: str = "stream"):
        self._detector, self._config, self.name = detector, config, name
        self._scorer = detector.window_scorer(config, eager=True)
        self._answered, self._asked = 0, 0  # windows; samples that were there when it was last asked early
        self._lock = threading.Lock()

    @property
    def wanted(self) -> int:
        """Samples that the next answer waits for; ``push`` only keeps fewer of them."""
        scorer, early = self._scorer, self._asked + self._scorer.hop
        return early - scorer.samples if scorer.samples < early < scorer.window else scorer.wanted

    def push(self, samples: np.ndarray) -> list[dict]:
        """Hear what comes next.

        Args:
            samples: float32, full scale at 1, (samples,), any number of them.

        Returns:
            an answer for each window that is complete now: ``t`` (seconds at its end), ``llr`` (``score``
            of a detector without calibration) and ``verdict`` of this window.
        """
        with self._lock:
            scorer = self._scorer
            scorer.push(np.asarray(samples, np.float32))
            scorer.flush()
            answers = self._answers()
            if scorer.samples < scorer.window and scorer.samples - self._asked >= scorer.hop:
                self._asked = scorer.samples
                spoken, score = scorer.so_far()
                if spoken >= _FIRST_ANSWER:
                    answers.append(self._answer(scorer.samples, score))
            return answers

    def finish(self) -> Detection:
        """The stream is over: what is said of the whole."""
        with self._lock:
            return self._detector.judge(self.name, self._scorer.finish(), self._config)

    def close(self) -> None:
        """Forget it."""
        self._scorer.close()

    def _answers(self) -> list[dict]:
        """Of the windows that were scored since the last ones."""
        scorer, first = self._scorer, self._answered
        self._answered = len(scorer.scores)
        new = zip(scorer.starts[first:], scorer.scores[first:], strict=True)
        return [self._answer(start + scorer.window, score) for start, score in new]

    def _answer(self, end: int, score: float) -> dict:
        calibration, threshold = self._detector.calibration, self._detector.decision_threshold(self._config)
        value = score if calibration is None else float(calibration.window_llr([score])[0])
        return {
            "t": round(end / SAMPLE_RATE, 3),
            "score" if calibration is None else "llr": round(value, 6),
            "verdict": UNDECIDED if threshold is None else SPOOF if value <= threshold else BONAFIDE,
        }


def _pool(values: np.ndarray, pooling: str) -> float:
    if pooling == "min":
        return float(values.min())
    if pooling == "trimmed":
        cut = int(_TRIMMED * len(values))
        values = np.sort(values)[cut : len(values) - cut]
    return float(values.mean())


def _spoken(probabilities: np.ndarray, cells: int, hop: float) -> np.ndarray:
    """Whether somebody speaks in a tenth of each cell at least: bool (cells,)."""
    edges = np.rint(np.arange(cells + 1) * hop * SAMPLE_RATE / FRAME).astype(int)
    spoken = np.concatenate([[0], np.cumsum(probabilities > 0.5)])
    edges = np.minimum(edges, len(spoken) - 1)
    counts = np.diff(spoken[edges])
    return counts >= np.maximum(1, 0.1 * np.diff(edges))
