"""The source of the harmonic vocoder: F0 as the classic vocoders track it, and harmonics of power 1."""

import numpy as np
import pytest
import torch

from asvtk.augment.neural.harmonic import harmonics, track_f0
from asvtk.augment.neural.spectra import HOP
from asvtk.augment.vocoders import parts


def voice(f0, seconds=1.0):
    """Harmonics that fall off as a voice's do, (samples,)."""
    cycles = np.cumsum(np.broadcast_to(f0, int(16_000 * seconds))) / 16_000
    return 0.05 * sum(np.cos(2 * np.pi * number * cycles) / number for number in range(1, 15))


@pytest.mark.parametrize("f0", [80.0, 131.0, 220.0, 390.0])
def test_f0_of_a_steady_voice(f0):
    found = track_f0(torch.from_numpy(voice(f0)).float().unsqueeze(0))[0]
    assert found.shape == (80,)
    assert found[2:-2] == pytest.approx(np.full(76, f0), rel=0.01)


def test_f0_is_that_of_the_classic_vocoders():
    audio = voice(np.linspace(100, 200, 16_000)) * (np.arange(16_000) % 8000 < 6000)
    audio += 0.001 * np.random.default_rng(0).standard_normal(16_000)
    here = track_f0(torch.from_numpy(audio).float().unsqueeze(0))[0].numpy()
    there = parts.track_f0(audio, 16_000, HOP)[2:]  # half a hop earlier each
    there = (there[:80] + there[1:81]) / 2
    both = (here > 0) & (there > 90)
    assert both.mean() > 0.6 and np.median(np.abs(here[both] / there[both] - 1)) < 0.01
    assert ((here > 0) == (there > 0)).mean() > 0.9


def test_noise_and_silence_are_unvoiced():
    noise = 0.05 * torch.randn(1, 80 * HOP, generator=torch.Generator().manual_seed(0))
    assert (track_f0(noise) > 0).float().mean() < 0.1
    assert not track_f0(torch.zeros(1, 80 * HOP)).any()


def test_harmonics_are_of_power_one_and_of_f0():
    made = harmonics(torch.full((1, 80), 125.0))[0]
    assert made.shape == (80 * HOP,) and made.square().mean() == pytest.approx(1, abs=0.02)
    spectrum = torch.fft.rfft(made * torch.hann_window(len(made))).abs()
    lines = spectrum[125:7900:125]
    assert lines.min() > 0.9 * lines.max() and spectrum[60:7900:125].max() < 0.01 * lines.max()
    assert spectrum[7950:].max() < 0.01 * lines.max()


def test_nothing_sounds_where_nothing_is_voiced():
    f0 = torch.full((1, 20), 200.0)
    f0[:, 5:10] = 0
    made = harmonics(f0)[0].reshape(20, HOP)
    assert not made[5:10].any() and made[10:].square().mean() > 0.5 and torch.isfinite(made).all()
