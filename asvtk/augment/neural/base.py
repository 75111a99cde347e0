"""What the vocoders that make a waveform of log-mel frames at once have in common."""

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.augment.neural.spectra import log_mel

__all__ = ["MelGenerator"]


class MelGenerator(nn.Module):
    """One pass from log-mel frames to a waveform, trained against discriminators."""

    STEPS_PER_STEP = 1  # of the configuration
    MEASURE = "log-mel distance"  # what training reports

    def copy(self, audio: Tensor, rng: np.random.Generator, smooth: int = 1) -> Tensor:
        """A waveform of the mel frames of ``audio``.

        Args:
            audio: (batch, samples), whole hops, near the RMS of ``training.LEVEL``.
            rng: of what the vocoder draws; most draw nothing.
            smooth: frames that the log-mel spectrum is averaged over, an odd number: acoustic models of
                text-to-speech and voice conversion predict smoother spectra than recordings have.

        Returns:
            as ``audio``.
        """
        mel = F.pad(log_mel(audio), (smooth // 2, smooth // 2), "replicate")
        return self.render(F.avg_pool1d(mel, smooth, 1), audio, rng)

    def render(self, mel: Tensor, audio: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """A waveform of mel frames, for those that need more of the recording than these.

        Args:
            mel: (batch, MELS, frames).
            audio: what they are of, (batch, frames * HOP).
            rng: None for torch's own random numbers, on the device, as training needs them.

        Returns:
            as ``audio``.
        """
        return self(mel)
