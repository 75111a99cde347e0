"""Band-limited recordings are told from others, whatever limited them."""

import numpy as np
import pytest
from scipy import signal

from asvtk.corpora.bandwidth import is_band_limited

RNG = np.random.default_rng(0)


def speech(samples, rate=16_000):
    """Noise that falls by 6 dB an octave and comes in bursts, with a little of a recorder's own."""
    noise = signal.lfilter([1], [1, -0.9], RNG.standard_normal(samples))
    bursts = np.repeat(RNG.random(-(-samples // 4000)) < 0.6, 4000)[:samples]
    return (0.05 * noise * bursts + 1e-4 * RNG.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("samples", [300, 4000, 64_600])
def test_full_band_recordings_are_not_limited(samples):
    assert not is_band_limited(speech(samples))


@pytest.mark.parametrize("rate, up, down", [(22_050, 320, 441), (24_000, 2, 3), (48_000, 1, 3)])
@pytest.mark.parametrize("cutoff", [0.91, 0.95])
def test_resampled_recordings_are_limited(rate, up, down, cutoff):
    wide = speech(2 * rate)
    taps = signal.firwin(2 * 64 * max(up, down) + 1, cutoff / max(up, down), window=("kaiser", 10))
    assert is_band_limited(signal.resample_poly(wide, up, down, window=taps))


def test_silence_is_not_limited():
    assert not is_band_limited(np.zeros(5000, np.float32))
