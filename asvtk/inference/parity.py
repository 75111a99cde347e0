"""Parity of an exported detector with torch: the same scores of the same windows, and how fast both are."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from asvtk.inference.detector import DetectConfig, RecordingDetector
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError

__all__ = ["TOLERANCE", "Parity", "compare", "speech_like"]

TOLERANCE = 1e-4  #: of the standard deviation of the scores
_ROUNDING = 8 * np.finfo(np.float32).eps  # of the largest score: less no float32 can tell apart
_SEVERAL = 4  # windows in a batch of several
_TIMED = 5  # runs of each, in turns


class Parity(NamedTuple):
    """How far two computations of the same scores differ."""

    difference: float  # the largest, in batches of one and of several
    deviation: float  # standard deviation of torch's scores
    largest: float  # of torch's scores, without its sign
    windows: int  # how many were compared
    speed: float  # times as fast as torch on a single window, in the same run

    @property
    def relative(self) -> float:
        """The difference in standard deviations of the scores."""
        return self.difference / self.deviation

    def require(self, name: str) -> None:
        """
        Raises:
            AsvtkError: they differ by more than `TOLERANCE`, and by more than the rounding of float32.
        """
        if not self.difference <= max(TOLERANCE * self.deviation, _ROUNDING * self.largest):
            raise AsvtkError(
                f"{name}: the exported graph gives other scores than torch: they differ by "
                f"{self.difference:.2g} on {self.windows} windows, {self.relative:.2g} of the scores' "
                f"standard deviation, where {TOLERANCE:g} is allowed; nothing was written"
            )


def compare(
    detector: RecordingDetector,
    exported: Callable[[list[np.ndarray]], tuple[np.ndarray, np.ndarray]],
    clips: list[np.ndarray],
) -> Parity:
    """Compare scores of the first window of each clip, one by one and in batches, and time both in turns.

    Args:
        detector: that torch computes.
        exported: ``score_windows`` of the other.
        clips: float32 at 16 kHz, (samples,) each. Where training did not repeat short utterances, these are
            repeated here, as an exported graph takes full windows alone.

    Raises:
        AsvtkError: there are fewer than two, or all scores are alike: nothing can be compared.
    """
    window = round(detector.window_seconds(DetectConfig()) * SAMPLE_RATE)
    windows = [clip[:window] for clip in clips if len(clip)]
    if not detector.crop.is_fixed:
        windows = [np.resize(clip, window) for clip in windows]
    expected = np.concatenate([detector.score_windows([x])[0] for x in windows]) if windows else np.zeros(0)
    deviation = float(expected.std()) if len(expected) > 1 else 0.0
    if not deviation > 0:
        raise AsvtkError(
            f"{detector.name}: {len(windows)} clips with the same score: expected "
            "two at least that score otherwise"
        )
    alone = np.concatenate([exported([x])[0] for x in windows])
    batches = [windows[k : k + _SEVERAL] for k in range(0, len(windows), _SEVERAL)]
    together = np.concatenate([exported(batch)[0] for batch in batches])
    difference = max(np.abs(alone - expected).max(), np.abs(together - expected).max())
    times = np.array(
        [
            [_seconds(score, windows[:1]) for score in (detector.score_windows, exported)]
            for _ in range(_TIMED)
        ]
    )
    torch_time, time_of_exported = times.min(axis=0)
    largest = float(np.abs(expected).max())
    return Parity(float(difference), deviation, largest, len(windows), float(torch_time / time_of_exported))


def _seconds(score: Callable, windows: list[np.ndarray]) -> float:
    start = time.perf_counter()
    score(windows)
    return time.perf_counter() - start


def speech_like(count: int = 12, seconds: float = 4.5, seed: int = 0) -> list[np.ndarray]:
    """Signals somewhat like speech, where no clips are at hand: float32 (samples,) at 16 kHz.

    Pulses of a gliding pitch and noise, in turns, through three resonances that move from syllable to
    syllable, with pauses, at several levels.
    """
    from scipy.signal import lfilter

    generator = np.random.default_rng(seed)
    signals = []
    for _ in range(count):
        syllables = []
        pitch = generator.uniform(80, 260)
        while sum(map(len, syllables)) < seconds * SAMPLE_RATE:
            samples = int(generator.uniform(0.08, 0.3) * SAMPLE_RATE)
            glide = pitch * np.linspace(1, generator.uniform(0.8, 1.25), samples)
            pulses = np.diff(np.floor(np.cumsum(glide) / SAMPLE_RATE), prepend=0)
            voiced = generator.random() < 0.7
            sound = pulses if voiced else 0.1 * generator.normal(size=samples)
            for low, high in ((250, 900), (900, 2400), (2400, 3800)):
                angle = 2 * np.pi * generator.uniform(low, high) / SAMPLE_RATE
                sound = lfilter([1.0], [1, -2 * 0.97 * np.cos(angle), 0.97**2], sound)
            syllables += [sound * np.hanning(samples), np.zeros(int(generator.uniform(0, 0.1) * SAMPLE_RATE))]
        signal = np.concatenate(syllables)[: int(seconds * SAMPLE_RATE)]
        signal += 10 ** generator.uniform(-4, -2) * np.abs(signal).max() * generator.normal(size=len(signal))
        signals.append(
            (10 ** generator.uniform(-1.5, -0.3) * signal / np.abs(signal).max()).astype(np.float32)
        )
    return signals
