"""Raw waveform as front-end, for back-ends with filters of their own (AASIST, the sinc stream).

It has no layers: nothing is cached, and training and scoring decode the audio files.
"""

from dataclasses import dataclass

from torch import Tensor

from asvtk.frontends.base import FrontEnd, FrontEndConfig

__all__ = ["Waveform", "WaveformConfig"]


@dataclass(frozen=True, kw_only=True)
class WaveformConfig(FrontEndConfig):
    name = "waveform"
    cache: bool = False
    random_crop: bool = True  # in training, another window of long utterances every epoch; else their head

    def __post_init__(self):
        if self.cache:
            raise ValueError("cache: the waveform front-end computes no features; leave it out")


class Waveform(FrontEnd):
    """Front-end without features: the back-end hears the audio."""

    Config = WaveformConfig
    label = "waveform"
    layers = ()
    width = 0

    def details(self) -> dict:
        return {"front-end": "none: audio"}

    def frames(self, samples):
        return 0 * samples

    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        return {}
