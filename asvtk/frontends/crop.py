"""Crop and conditioning of audio before the front-end, and where windows of an utterance begin."""

from dataclasses import dataclass

import numpy as np

from asvtk.io.audio import SAMPLE_RATE

__all__ = ["Conditioning", "Crop", "draw_begin", "hear"]


@dataclass(frozen=True)
class Crop:
    """Crop of an utterance: how much of it is heard.

    The field's convention, which all published ASVspoof numbers share, is the first 64,600 samples
    (4.04 s), and shorter utterances repeated until they are that long, *before* the front-end.
    """

    samples: int | None = 64_600  # null: the whole utterance
    repeat: bool = True  # repeat utterances that are shorter

    def __post_init__(self):
        if self.samples is not None and self.samples < 1:
            raise ValueError("samples must be positive, or null for whole utterances")

    @property
    def is_fixed(self) -> bool:
        """Whether all utterances come out equally long, so that nothing is padded."""
        return self.samples is not None and self.repeat

    def length(self, samples: int) -> int:
        """How many samples are left of an utterance of ``samples``."""
        if self.samples is None:
            return samples
        return self.samples if self.repeat else min(samples, self.samples)

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """The head of ``audio``, repeated if it is short."""
        if self.samples is not None and self.repeat and len(audio) < self.samples:
            return np.resize(audio, self.samples)  # np.resize fills up with repetitions
        return audio[: self.samples]


def draw_begin(samples: int, window: int, step: int, generator: np.random.Generator) -> int:
    """Where in an utterance a window begins: any place is as likely as another.

    Args:
        samples: of the utterance.
        window: samples of the window; 0 comes back where the utterance has no more.
        step: the place is a multiple of so many samples.
        generator: nothing is drawn from it where there is one place only.
    """
    places = (samples - window) // step + 1
    return step * int(generator.integers(places)) if places > 1 else 0


@dataclass(frozen=True)
class Conditioning:
    """Loudness and bandwidth that every clip is brought to first, in training and in scoring alike.

    How loud a recording is, and where its band ends, come from equipment and resampling, and say nothing of
    who speaks. In a small corpus they may well go with the label.
    """

    loudness_db: float | None = None  # RMS of what is heard, dB below full scale, such as -26; null: as it is
    lowpass_hz: float | None = None  # nothing above is heard; null: all

    def __post_init__(self):
        if self.loudness_db is not None and not -100 <= self.loudness_db <= 0:
            raise ValueError("loudness_db must lie in -100 to 0 dB, or be null")
        if self.lowpass_hz is not None and not 200 <= self.lowpass_hz < SAMPLE_RATE / 2 - 200:
            raise ValueError(f"lowpass_hz must lie in 200 to {SAMPLE_RATE // 2 - 200} Hz, or be null")

    def describe(self) -> dict:
        """What a front-end's description says of it: nothing where it does nothing."""
        words = {"level (dB below full scale)": self.loudness_db, "nothing above (Hz)": self.lowpass_hz}
        return {key: value for key, value in words.items() if value is not None}

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """float32 (samples,) -> the same shape, in time with it."""
        from asvtk.augment.perturbation import level, lowpass  # SciPy's filters take a second to import

        if self.lowpass_hz is not None:
            audio = lowpass(audio, self.lowpass_hz)
        if self.loudness_db is not None:
            audio = level(audio, self.loudness_db)
        return audio.astype(np.float32, copy=False)


def hear(audio: np.ndarray, crop: Crop, conditioning: Conditioning) -> np.ndarray:
    """The head of an utterance, conditioned, repeated where short: float32 (samples,) -> (samples',)."""
    return crop(conditioning(audio[: crop.samples]))
