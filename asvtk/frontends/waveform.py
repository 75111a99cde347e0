"""The audio itself, for systems that bring their own filters (AASIST, the sinc stream).

It has no layers: nothing is cached, and training and scoring decode the audio files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from asvtk.frontends.base import Conditioning, Crop, Features, FrontEnd

__all__ = ["Waveform", "WaveformConfig"]


@dataclass(frozen=True)
class WaveformConfig:
    name = "waveform"
    crop: Crop = field(default_factory=Crop)
    conditioning: Conditioning = field(default_factory=Conditioning)
    random_crop: bool = True  # in training, another window of long utterances every epoch; else their head


class Waveform(FrontEnd):
    label = "waveform"
    layers = ()
    uses_gpu = False

    def __init__(self, config: WaveformConfig, device: str = "cpu"):
        self.crop, self.conditioning = config.crop, config.conditioning

    def describe(self) -> dict:
        return {
            "front-end": "none: audio",
            "crop (samples)": self.crop.samples,
            "shorter utterances are repeated": self.crop.repeat,
            **self.conditioning.describe(),
        }

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        return self.hear(audio)

    def shape(self, samples: int) -> tuple[int, int]:
        return 0, 0

    def start(self, batch: list[np.ndarray], layers: tuple[int, ...]) -> Callable[[], list[Features]]:
        return lambda: [{} for _ in batch]
