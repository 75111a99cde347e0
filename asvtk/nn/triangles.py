"""Triangular filters that average the bins of a spectrum into bands."""

import numpy as np

__all__ = ["linear_triangles"]


def linear_triangles(count: int, fft: int, sample_rate: int) -> np.ndarray:
    """Filters evenly spaced up to half the sample rate, of height 1, their feet at the neighbours' peaks.

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
