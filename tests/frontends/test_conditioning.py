"""What conditioning takes from audio, for features and for systems that hear the audio itself."""

import numpy as np
import pytest
from tiny_corpus import prepare_split, write_tiny_corpus
from tiny_models import save_model

from asvtk.frontends import build_frontend
from asvtk.frontends.base import Conditioning, Crop
from asvtk.frontends.lfcc import LfccConfig
from asvtk.frontends.spectrogram import SpectrogramConfig
from asvtk.frontends.ssl.frontend import SslConfig
from asvtk.frontends.waveform import WaveformConfig
from asvtk.training.dataset import open_dataset

AUDIO = (0.1 * np.random.default_rng(0).standard_normal(9000)).astype(np.float32)
BOTH = Conditioning(loudness_db=-26, lowpass_hz=7000)


def share_above(audio, edge):
    power = np.square(np.abs(np.fft.rfft(audio * np.hanning(len(audio)))))
    return power[int(edge / 8000 * len(power)) :].sum() / power.sum()


def test_level_and_band():
    heard = BOTH(AUDIO)
    assert heard.shape == AUDIO.shape and heard.dtype == np.float32
    assert 20 * np.log10(np.sqrt(np.mean(heard.astype(float) ** 2))) == pytest.approx(-26, abs=1e-3)
    assert share_above(AUDIO, 7200) > 0.09 and share_above(heard, 7200) < 1e-7
    lag = np.argmax(np.correlate(heard, AUDIO[4000:5000], "valid"))
    assert lag == 4000  # in time


def test_nothing_asked_nothing_done():
    assert Conditioning()(AUDIO) is AUDIO and Conditioning().describe() == {}
    assert not Conditioning(loudness_db=-26)(np.zeros(100, np.float32)).any()


@pytest.mark.parametrize("kind", [LfccConfig, SpectrogramConfig, WaveformConfig, SslConfig])
def test_every_front_end_hears_conditioned_audio_and_says_so(kind, tmp_path):
    model = {"model": save_model(tmp_path / "m")} if kind is SslConfig else {}
    plain, conditioned = (
        build_frontend(kind(**model, crop=Crop(12_000), **more)) for more in ({}, {"conditioning": BOTH})
    )
    assert share_above(plain.prepare(AUDIO), 7200) > 0.09
    assert share_above(conditioned.prepare(AUDIO)[500:8500], 7200) < 1e-4
    assert plain.describe() != conditioned.describe()
    assert len(conditioned.prepare(AUDIO)) == 12_000
    given = AUDIO.copy()
    conditioned.prepare(given)
    assert np.array_equal(given, AUDIO)  # left as it was


def test_level_is_that_of_what_is_heard():
    """Not of what comes behind the crop, and of the audio, not of its repetitions."""
    frontend = build_frontend(WaveformConfig(crop=Crop(6000), conditioning=Conditioning(loudness_db=-26)))
    loud_end = np.concatenate([AUDIO[:6000], 5 * AUDIO])
    assert np.array_equal(frontend.prepare(loud_end), frontend.prepare(AUDIO[:6000]))


def test_data_sets_give_conditioned_audio(tmp_path):
    data = prepare_split(write_tiny_corpus(tmp_path), "train", tmp_path / "data")
    plain, conditioned = (
        open_dataset(data, None, build_frontend(WaveformConfig(crop=Crop(2000), **more)))
        for more in ({}, {"conditioning": BOTH})
    )
    for index in range(3):
        for seed in (None, 5):
            given, heard = (of.draw(index, seed)[1].numpy() for of in (plain, conditioned))
            np.testing.assert_array_equal(heard, BOTH(given))


@pytest.mark.parametrize(
    "wrong", [{"loudness_db": 3}, {"loudness_db": -200}, {"lowpass_hz": 100}, {"lowpass_hz": 7900}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must lie in"):
        Conditioning(**wrong)
