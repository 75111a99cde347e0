"""Shortcuts are what they are called; band-limited recordings are told from others, whatever limited them."""

import numpy as np
import pytest
from scipy import signal

from asvtk.corpora.shortcuts import BAND_LIMITED_DB, SHORTCUTS, measure_shortcuts

RNG = np.random.default_rng(0)


def speech(samples):
    """Noise that falls by 6 dB an octave and comes in bursts, with a little of a recorder's own."""
    noise = signal.lfilter([1], [1, -0.9], RNG.standard_normal(samples))
    bursts = np.repeat(RNG.random(-(-samples // 4000)) < 0.6, 4000)[:samples]
    return (0.05 * noise * bursts + 1e-4 * RNG.standard_normal(samples)).astype(np.float32)


def is_band_limited(samples):
    return measure_shortcuts(samples)["fall at 7.75 kHz"] > BAND_LIMITED_DB


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


def test_measures():
    tone = 0.1 * np.sin(2 * np.pi * 500 * np.arange(32_000) / 16_000)
    noise = 10 ** (-70 / 20) * RNG.standard_normal(48_000)
    noise[4800:36_800] += tone  # 0.3 s after the beginning, 0.7 s before the end
    found = measure_shortcuts(noise.astype(np.float32))
    assert set(found) == set(SHORTCUTS)
    assert found["length"] == 3 and found["silence before"] == pytest.approx(0.3, abs=0.02)
    assert found["silence behind"] == pytest.approx(0.7, abs=0.02)
    assert found["level"] == pytest.approx(20 * np.log10(0.1 / 2**0.5) - 1.76, abs=0.1)
    assert found["signal to noise"] == pytest.approx(47, abs=1)
    assert abs(found["fall at 7.75 kHz"]) < 3


def test_silence_has_finite_measures():
    assert np.isfinite(list(measure_shortcuts(np.zeros(1000, np.float32)).values())).all()
