"""Short-time power spectra, and bands that are evenly spaced on the linear frequency axis."""

import numpy as np

from asvtk.io.audio import SAMPLE_RATE

__all__ = ["linear_filters", "power_spectra"]


def linear_filters(count: int, fft: int) -> np.ndarray:
    """Triangles whose feet are the neighbours' peaks, up to 8 kHz; shape (fft // 2 + 1, count)."""
    peaks = np.linspace(0, SAMPLE_RATE / 2, count + 2)
    bins = np.arange(fft // 2 + 1)[:, None] * SAMPLE_RATE / fft
    rising = (bins - peaks[:-2]) / (peaks[1:-1] - peaks[:-2])
    falling = (peaks[2:] - bins) / (peaks[2:] - peaks[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def power_spectra(samples: np.ndarray, window: np.ndarray, shift: int, fft: int) -> np.ndarray:
    """Power of windowed frames: (samples,), at least one window long -> (frames, fft // 2 + 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::shift]
    return np.abs(np.fft.rfft(frames * window, fft)) ** 2
