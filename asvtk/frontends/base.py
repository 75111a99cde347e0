"""What every front-end is: waveforms in, one matrix per utterance and layer out."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asvtk.io.ark import Encoded, encode_matrix
from asvtk.io.audio import SAMPLE_RATE

__all__ = ["Conditioning", "Crop", "Features", "FrontEnd", "Mode", "Storage"]

#: layer -> float32 matrix, shape (frames, dimensions)
Features = dict[int, np.ndarray]


@dataclass(frozen=True)
class Crop:
    """How much of an utterance is heard.

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

    def window(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What is heard of long ``audio``, from where the generator says; short audio as it is."""
        spare = 0 if self.samples is None else len(audio) - self.samples
        begin = generator.integers(spare + 1) if spare > 0 else 0
        return audio[begin:][: self.samples]


@dataclass(frozen=True)
class Conditioning:
    """What is taken from every clip before anything hears it, in training and in judging alike.

    How loud a recording is, and where its band ends, come from equipment and resampling, and say nothing of
    who speaks. In a small corpus they may well go with the label.
    """

    level: float | None = None  # RMS of what is heard, dB below full scale, such as -26; null: as recorded
    highest: float | None = None  # Hz, nothing above is heard; null: all

    def __post_init__(self):
        if self.level is not None and not -100 <= self.level <= 0:
            raise ValueError("level must lie in -100 to 0 dB, or be null")
        if self.highest is not None and not 200 <= self.highest < SAMPLE_RATE / 2 - 200:
            raise ValueError(f"highest must lie in 200 to {SAMPLE_RATE // 2 - 200} Hz, or be null")

    def describe(self) -> dict:
        """What a front-end's description says of it: nothing where it does nothing."""
        said = {"level (dB below full scale)": self.level, "nothing above (Hz)": self.highest}
        return {what: value for what, value in said.items() if value is not None}

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """float32 (samples,) -> the same shape, in time with it."""
        from asvtk.augment.perturbation import level, lowpass  # SciPy's filters take a second to import

        if self.highest is not None:
            audio = lowpass(audio, self.highest)
        if self.level is not None:
            audio = level(audio, self.level)
        return audio.astype(np.float32, copy=False)


#: how matrices are stored: float32, or Kaldi's compression to 16 or 8 bits
Storage = Literal["FM", "CM2", "CM"]

Mode = Literal["cached", "live", "split"]


class FrontEnd(abc.ABC):
    """A front-end, of which stage 2 sees what is frozen.

    Attributes:
        label: short name for the cache folder.
        mode: ``cached``: stage 2 computes all features; ``live``: training and scoring do, from audio;
            ``split``: stage 2 the layers of the frozen part, training and scoring the others from these.
        layers: the layers that stage 2 caches, in ascending order; a front-end that knows no choice of
            layers has the one layer 0, and one without features, or a live one, none.
        crop: how much of an utterance it hears.
        conditioning: what is taken from that first.
        uses_gpu: whether a GPU would help; if not, none is asked for.
        on_gpu: whether it was given one.
        batch_size: how many utterances of the crop's length ``start`` likes at once.
        storage: how its features are stored.
    """

    label: str
    mode: Mode = "cached"
    layers: tuple[int, ...]
    crop: Crop
    conditioning: Conditioning = Conditioning()
    uses_gpu: bool
    on_gpu: bool = False
    batch_size: int = 1
    storage: Storage = "FM"

    @abc.abstractmethod
    def describe(self) -> dict:
        """Everything that the features depend on, except the choice of layers, in words.

        Its digest is the cache's fingerprint: two descriptions that are equal must mean equal
        features, so weights go in by their hash.
        """

    @abc.abstractmethod
    def prepare(self, audio: np.ndarray) -> np.ndarray:
        """Crop, pad and normalise one utterance: float32 (samples,) -> float32 (samples',)."""

    @abc.abstractmethod
    def shape(self, samples: int) -> tuple[int, int]:
        """Frames and dimensions of the features of an utterance of so many samples, before cropping."""

    @abc.abstractmethod
    def start(self, batch: list[np.ndarray], layers: tuple[int, ...]) -> Callable[[], list[Features]]:
        """Start computing, and let the caller read and write files meanwhile.

        Args:
            batch: prepared utterances; they may be overwritten as soon as this returns.
            layers: which layers, a subset of ``self.layers``.

        Returns:
            a function that waits for the features of each utterance. What an utterance gets does not
            depend on its company, but for rounding.
        """

    def start_encoded(
        self, batch: list[np.ndarray], layers: tuple[int, ...]
    ) -> Callable[[], list[dict[int, Encoded]]]:
        """``start``, for features as they stand in an ark, of kind ``storage``.

        None stands for features that are not finite (nan or inf).
        """
        wait = self.start(batch, layers)

        def encode(matrix: np.ndarray) -> Encoded:
            return (encode_matrix(matrix, self.storage),) if np.isfinite(matrix).all() else None

        return lambda: [{layer: encode(matrix) for layer, matrix in features.items()} for features in wait()]

    def live_part(self):
        """What has to run with the system, where ``mode`` is not ``cached``.

        Returns:
            a torch module as ``asvtk.frontends.ssl_live`` has it; None where stage 2 computes all.
        """
        return None

    def hear(self, audio: np.ndarray) -> np.ndarray:
        """The head of an utterance, conditioned, repeated where it is short: (samples,) -> (samples',)."""
        return self.crop(self.conditioning(audio[: self.crop.samples]))

    def extract(self, batch: list[np.ndarray], layers: tuple[int, ...]) -> list[Features]:
        """``start``, and wait."""
        return self.start(batch, layers)()
