"""Log energies of linear bands, against a plain transcription, and what they do not depend on."""

import numpy as np
import pytest

from asvtk.frontends.base import Crop
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.spectrogram import FLOOR, Spectrogram, SpectrogramConfig


def features(audio, **config):
    frontend = Spectrogram(SpectrogramConfig(**config))
    found = Extractor(frontend)([frontend.prepare(audio)], (0,))[0][0]
    assert found.shape == frontend.shape(len(audio)) and found.dtype == np.float32
    return found


def test_features_follow_the_definition():
    audio = np.random.default_rng(0).standard_normal(900).astype(np.float32)
    found = features(audio, bands=8, window=100, shift=50, fft=128, crop=Crop(samples=900))
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 100) for n in range(100)]
    level = np.sqrt(np.mean(np.square(audio, dtype=np.float64)))
    for t in (0, 7, 16):
        frame = audio[50 * t : 50 * t + 100] / level * window
        power = [
            abs(sum(frame[n] * np.exp(-2j * np.pi * k * n / 128) for n in range(100))) ** 2 for k in range(65)
        ]
        for band in range(8):
            step = 8000 / 9
            weights = [max(0.0, 1 - abs(k * 125 - (band + 1) * step) / step) for k in range(65)]
            assert found[t, band] == pytest.approx(np.log(np.dot(weights, power) + FLOOR), abs=1e-4)


def test_level_means_nothing():
    audio = np.random.default_rng(1).standard_normal(70_000).astype(np.float32)
    assert np.abs(features(0.1 * audio) - features(0.003 * audio)).max() < 1e-4


def test_silence_is_finite():
    assert np.isfinite(features(np.zeros(100, np.float32))).all()


@pytest.mark.parametrize("wrong", [{"shift": 500}, {"fft": 256}, {"bands": 0}, {"bands": 300}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="expected|bands"):
        SpectrogramConfig(**wrong)
