"""Levels in waveform augmentations: signal-to-noise ratio, full scale, and the check of ranges."""

import math

import numpy as np

__all__ = ["add_noise", "below_full_scale", "check_range"]


def add_noise(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """``samples`` and ``noise``, scaled to lie ``snr`` dB below them; samples alone if either is silent."""
    signal_energy, noise_energy = (np.square(x, dtype=np.float64).sum() for x in (samples, noise))
    if noise_energy == 0:
        return samples.copy()
    scale = math.sqrt(signal_energy / noise_energy) * 10 ** (-snr / 20)
    return samples + np.float32(scale) * noise


def below_full_scale(samples: np.ndarray) -> np.ndarray:
    """Scale down to a peak of 1 what exceeds it."""
    peak = np.abs(samples).max(initial=0)
    return samples / peak if peak > 1 else samples


def check_range(config, knob: str, least: float = -math.inf, most: float = math.inf) -> None:
    """Raise ValueError unless the field ``knob`` holds two finite ascending numbers in [least, most]."""
    value = getattr(config, knob)
    if len(value) != 2 or not all(map(math.isfinite, value)) or value[0] > value[1]:
        raise ValueError(f"{knob} must be two numbers, the least and the most, not {list(value)}")
    if not least <= value[0] <= value[1] <= most:
        raise ValueError(f"{knob} must lie in {least:g} to {most:g}, not in {value[0]:g} to {value[1]:g}")
