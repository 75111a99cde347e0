"""Front-ends without their computation: what their features are called, their shape and their fingerprint.

Stage 2 plans and joins by these alone, without waiting for torch.
"""

import abc

import numpy as np

from asvtk.frontends.config import (
    FrontEndConfig,
    LfccConfig,
    SpectrogramConfig,
    Storage,
    WaveformConfig,
)
from asvtk.frontends.crop import hear

__all__ = ["SILENCE", "FrontEndSpec", "LfccSpec", "SpectrogramSpec", "WaveformSpec"]

#: an RMS below this is not raised to that of spectrograms
SILENCE = 1e-5


class FrontEndSpec(abc.ABC):
    """Specification of a front-end: everything but the forward pass and its weights.

    Attributes:
        label: short name for the cache folder.
        layers: numbers of the layers that the back-end hears, in ascending order; (0,) where there is one,
            () for a front-end that leaves the audio to the back-end.
        width: numbers a frame.
        min_samples: fewest samples that give a frame; shorter audio is padded.
        cut: numbers of the layers at the cut, up to which features may be stored; the default is ``layers``.
        trainable: blocks above the cut that training may change.
        uses_gpu: whether a GPU would help to compute; if not, stage 2 asks for none.
        batch_size: how many utterances of the crop's length are liked at once.
        storage: how its features are stored.
        by_real_samples: whether ``prepare`` asks what of an utterance is no repetition.
    """

    label: str
    layers: tuple[int, ...] = (0,)
    width: int
    min_samples: int = 1
    trainable: int = 0
    uses_gpu: bool = False
    batch_size: int = 16
    storage: Storage = "FM"
    by_real_samples: bool = False

    def __init__(self, config: FrontEndConfig):
        super().__init__()  # of torch's module, where this is one
        self.config, self.crop, self.conditioning = config, config.crop, config.conditioning

    @abc.abstractmethod
    def details(self) -> dict:
        """What ``prepare`` and the frozen part do, in words that JSON can hold: see ``describe``.

        Raise a number ``implementation`` in it when the code gives other numbers than before.
        """

    @abc.abstractmethod
    def frames(self, samples):
        """Frames of so many samples of prepared audio: a number, or a tensor of them."""

    def describe(self) -> dict:
        """Everything that the features at the cut depend on, except the choice of layers.

        Its digest is the cache's fingerprint: two descriptions that are equal must mean equal
        features, so weights go in by their hash.
        """
        heard = {
            "crop (samples)": self.crop.samples,
            "shorter utterances are repeated": self.crop.repeat,
        }
        return {**self.details(), **heard, **self.conditioning.describe()}

    @property
    def cut(self) -> tuple[int, ...]:
        return self.layers

    @property
    def frame_shift(self) -> int:
        """Samples from one frame to the next; 1 where there are no frames."""
        samples = 1 << 30  # so many that a frame more or less does not count
        frames = self.frames(2 * samples) - self.frames(samples)
        return round(samples / frames) if frames else 1

    @property
    def stored(self) -> tuple[int, ...]:
        """The layers that stage 2 caches: those at the cut, or none."""
        return self.cut if self.config.cache else ()

    def hear(self, audio: np.ndarray) -> np.ndarray:
        """The head of an utterance, conditioned, repeated where short: float32 (samples,) -> (samples',)."""
        return hear(audio, self.crop, self.conditioning)

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        """What the frozen part takes: ``hear``, then padding to ``min_samples``."""
        return self.pad(self.hear(audio))

    def pad(self, audio: np.ndarray) -> np.ndarray:
        """Zeros behind audio that is shorter than ``min_samples``."""
        short = self.min_samples - len(audio)
        return np.pad(audio, (0, short)) if short > 0 else audio

    def shape(self, samples: int) -> tuple[int, int]:
        """Frames and width of an utterance of so many samples, before cropping."""
        return self.frames(max(self.crop.length(samples), self.min_samples)), self.width


class _ShortTime(FrontEndSpec):
    """Features of windows: what lies within an utterance, and one frame of anything shorter."""

    config: LfccConfig | SpectrogramConfig

    def frames(self, samples):
        frames = (samples - self.config.window) // self.config.shift + 1
        return frames.clamp_min(1) if hasattr(frames, "clamp_min") else max(frames, 1)


class LfccSpec(_ShortTime):
    """Specification of LFCCs."""

    Config = LfccConfig
    label = "lfcc"

    def __init__(self, config: LfccConfig):
        super().__init__(config)
        self.width, self.min_samples = 3 * config.coefficients, config.window

    def details(self) -> dict:
        config = self.config
        return {
            "front-end": "LFCC with first and second differences",
            "static coefficients": config.coefficients,
            "filters": config.filters,
            "window, shift, FFT (samples)": [config.window, config.shift, config.fft],
            "pre-emphasis": config.preemphasis,
            "implementation": 2,
        }


class SpectrogramSpec(_ShortTime):
    """Specification of log spectrograms."""

    Config = SpectrogramConfig
    label = "spectrogram"

    def __init__(self, config: SpectrogramConfig):
        super().__init__(config)
        self.width, self.min_samples = config.bands, config.window

    def details(self) -> dict:
        config = self.config
        return {
            "front-end": "log energies of linearly spaced bands, at an RMS of 1",
            "bands": config.bands,
            "window, shift, FFT (samples)": [config.window, config.shift, config.fft],
            "implementation": 2,
        }

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        audio = super().prepare(audio)
        return audio / np.float32(max(np.sqrt(np.square(audio, dtype=np.float64).mean()), SILENCE))


class WaveformSpec(FrontEndSpec):
    """Specification of a front-end without features: the back-end hears the audio."""

    Config = WaveformConfig
    label = "waveform"
    layers = ()
    width = 0

    def details(self) -> dict:
        return {"front-end": "none: audio"}

    def frames(self, samples):
        return 0 * samples
