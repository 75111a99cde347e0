"""The ``frontend`` section of a configuration: fields, defaults and limits of each front-end.

They stand apart from the front-ends, as a configuration is read and checked without torch.
"""

from dataclasses import dataclass, field
from typing import Literal

from asvtk.frontends.crop import Conditioning, Crop

__all__ = [
    "FrontEndConfig",
    "LfccConfig",
    "SpectrogramConfig",
    "SslConfig",
    "Storage",
    "WaveformConfig",
]

#: how matrices are stored: float32, or Kaldi's compression to 16 or 8 bits
Storage = Literal["FM", "CM2", "CM"]


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig:
    """Configuration that all front-ends share."""

    crop: Crop = field(default_factory=Crop)
    conditioning: Conditioning = field(default_factory=Conditioning)
    cache: bool = True  # whether stage 2 stores what is frozen; false: computed anew in each epoch
    random_crop: bool = False  # not cached: training draws another window of long utterances in every epoch

    def __post_init__(self):
        self.check_random_crop()

    def check_random_crop(self) -> None:
        """
        Raises:
            ValueError: what is cached is to be cropped anew.
        """
        if self.cache and self.random_crop:
            raise ValueError("random_crop: cached features are of one crop; set cache to false")


@dataclass(frozen=True)
class LfccConfig(FrontEndConfig):
    name = "lfcc"
    coefficients: int = 20  # static coefficients; the features have three times as many numbers
    filters: int = 20
    window: int = 320  # samples: 20 ms
    shift: int = 160  # samples: 10 ms
    fft: int = 512
    preemphasis: float = 0.97

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.coefficients <= self.filters:
            raise ValueError("coefficients must lie between 1 and the number of filters")
        if not 1 <= self.shift <= self.window <= self.fft:
            raise ValueError("expected 1 <= shift <= window <= fft")


@dataclass(frozen=True)
class SpectrogramConfig(FrontEndConfig):
    name = "spectrogram"
    bands: int = 128
    window: int = 400  # samples: 25 ms
    shift: int = 160  # samples: 10 ms
    fft: int = 1024

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.shift <= self.window <= self.fft:
            raise ValueError("expected 1 <= shift <= window <= fft")
        if not 1 <= self.bands <= self.fft // 4:
            raise ValueError(f"bands must lie between 1 and fft / 4 ({self.fft // 4}): filters need bins")


@dataclass(frozen=True, kw_only=True)
class WaveformConfig(FrontEndConfig):
    name = "waveform"
    cache: bool = False
    random_crop: bool = True  # in training, another window of long utterances every epoch; else their head

    def __post_init__(self):
        if self.cache:
            raise ValueError("cache: the waveform front-end computes no features; leave it out")


@dataclass(frozen=True)
class SslConfig(FrontEndConfig):
    name = "ssl"
    model: str  # a Hugging Face name such as microsoft/wavlm-large or hf:owner/name@revision; or a directory
    revision: str | None = None  # of a Hugging Face repository: a tag, branch or commit
    layers: Literal["all"] | tuple[int, ...] = "all"  # hidden states to use, 0 = input of the transformer
    normalise: bool | None = None  # zero mean, unit variance of each utterance; null: as in pretraining
    trainable: int = 0  # blocks that training changes, counted from the deepest layer down
    precision: Literal["float32", "bfloat16", "float16", "float8"] = "float32"  # of products that are frozen
    storage: Storage = "FM"  # FM: float32; CM2: 16 bits a number; CM: 8 bits
    batch_size: int = 32  # utterances of 4 seconds computed at once; of longer ones fewer

    def __post_init__(self):
        super().__post_init__()
        if not self.layers:
            raise ValueError("layers must name at least one layer, or be all")
        if self.batch_size < 1:
            raise ValueError("batch_size must be positive")
        if self.trainable < 0:
            raise ValueError("trainable must not be negative")
