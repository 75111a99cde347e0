"""Short-time band energies: frames, power spectra and triangular filters on the linear frequency axis."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.io.audio import SAMPLE_RATE
from asvtk.nn.exporting import is_exporting
from asvtk.nn.frames import cut_frames, power_by_products

__all__ = ["LinearFilterbank", "linear_triangles"]


class LinearFilterbank(nn.Module):
    """Energies of bands that are evenly spaced up to half the sample rate.

    Args:
        window: values of the analysis window, shape (samples of a frame,).
        shift: samples from frame to frame.
        fft: size of the spectrum.
        bands: how many.
    """

    def __init__(self, window: np.ndarray, shift: int, fft: int, bands: int):
        super().__init__()
        self.length, self.shift, self.fft = len(window), shift, fft
        for name, values in ("window", window), ("filters", linear_triangles(bands, fft, SAMPLE_RATE)):
            self.register_buffer(name, torch.from_numpy(values).float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """float32 (batch, samples) -> (batch, frames, bands); audio shorter than a frame is padded."""
        audio = F.pad(audio, (0, max(0, self.length - audio.shape[1])))
        frames = cut_frames(audio, self.length, self.shift) * self.window
        if is_exporting():
            return power_by_products(frames, self.fft) @ self.filters
        return torch.view_as_real(torch.fft.rfft(frames, self.fft)).square().sum(-1) @ self.filters


def linear_triangles(count: int, fft: int, sample_rate: int) -> np.ndarray:
    """Triangular filters, evenly spaced up to half the sample rate, of height 1, feet at neighbours' peaks.

    Args:
        count: filters.
        fft: size of the spectrum.
        sample_rate: Hz.

    Returns:
        weights of the bins, float64 (fft // 2 + 1, count).
    """
    peaks = np.linspace(0, sample_rate / 2, count + 2)
    bins = np.arange(fft // 2 + 1)[:, None] * sample_rate / fft
    rising = (bins - peaks[:-2]) / (peaks[1:-1] - peaks[:-2])
    falling = (peaks[2:] - bins) / (peaks[2:] - peaks[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
