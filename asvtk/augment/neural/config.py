"""The ``vocoders`` part of a configuration's ``resynthesis`` section."""

from dataclasses import dataclass

__all__ = ["VocoderConfig"]


@dataclass(frozen=True)
class VocoderConfig:
    """How the neural vocoders of ``resynthesis`` are trained."""

    steps: int = 2000  # eight of the flow vocoder for each; they take about as long
    batch_size: int = 32  # segments of 0.5 s
    lr: float = 4e-4  # at the beginning; half a cosine from there
    seed: int = 1

    def __post_init__(self):
        if min(self.steps, self.batch_size) < 1 or not self.lr > 0:
            raise ValueError("steps, batch_size and lr must be positive")
