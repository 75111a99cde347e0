"""Codec round trips: time, length, bandwidth, and the values of G.711."""

import numpy as np
import pytest
import scipy

from asvtk.augment import codecs
from asvtk.augment.codecs import CODECS, code, require_codec
from asvtk.io.errors import AsvtkError

SETTINGS = [("mp3", 8), ("mp3", 128), ("aac", 8), ("aac", 96), ("opus", 6), ("opus", 64), ("vorbis", -1)]
SETTINGS += [("amr", 4.75), ("amr", 12.2), ("g726", 24), ("g726", 40)]
SETTINGS += [(name, None) for name in ("g722", "gsm", "alaw", "ulaw")]


def voice(length=40_001, seed=0):
    """Harmonics of a gliding voice, in syllables, with a little noise: what speech codecs are made for."""
    rng, time = np.random.default_rng(seed), np.arange(length) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / 16_000
    sound = sum(np.cos(k * phase + rng.uniform(0, 6)) / (1 + (k * 0.12) ** 2) for k in range(1, 27))
    sound = (sound + 0.05 * rng.normal(size=length)) * (0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * time))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def lag(one, other):
    """Samples by which ``other`` comes later, from 500 to 3000 Hz, by the peak of the cross-correlation."""
    band = scipy.signal.butter(4, (500, 3000), "bandpass", fs=16_000, output="sos")
    one, other = scipy.signal.sosfilt(band, one), scipy.signal.sosfilt(band, other)
    return int(np.argmax(scipy.signal.correlate(other, one, method="fft"))) - (len(one) - 1)


def test_every_codec_is_here_and_tried():
    assert {name for name, _ in SETTINGS} == set(CODECS)
    for name in CODECS:
        require_codec(name)


@pytest.mark.parametrize("name, setting", SETTINGS)
def test_time_and_length_stay(name, setting):
    sound = voice()
    made = code(sound, name, setting)
    assert made.shape == sound.shape and abs(lag(sound, made)) <= 2
    assert 0.6 < np.linalg.norm(made) / np.linalg.norm(sound) < 1.3
    assert np.array_equal(made, code(sound, name, setting))


@pytest.mark.parametrize("name, setting", SETTINGS)
@pytest.mark.parametrize("length", [1, 2, 100, 333])
def test_clips_of_any_length_and_silence(name, setting, length):
    for sound in (voice()[9000 : 9000 + length], np.zeros(length, np.float32), np.ones(length, np.float32)):
        made = code(sound, name, setting)
        assert made.shape == sound.shape and np.isfinite(made).all()
    assert np.abs(code(np.zeros(length, np.float32), name, setting)).max() < 2e-3


def test_full_scale_does_not_wrap_around():
    square = np.sign(np.sin(2 * np.pi * 200 * np.arange(8000) / 16_000)).astype(np.float32)
    for name in ("alaw", "ulaw", "gsm", "g722"):
        assert np.corrcoef(square, code(square, name))[0, 1] > 0.8, name


def test_more_bits_are_closer_and_8_khz_has_no_treble():
    sound = voice()

    def error(name, setting):
        return np.linalg.norm(code(sound, name, setting) - sound)

    assert error("mp3", 64) < error("mp3", 32) < error("mp3", 8)
    assert error("aac", 64) < error("aac", 16) and error("vorbis", 10) < error("vorbis", -1)
    assert error("g726", 40) < error("g726", 24)
    noise = 0.1 * np.random.default_rng(0).normal(size=32_000)
    for name in ("alaw", "gsm"):
        power = np.square(np.abs(np.fft.rfft(code(noise, name))))
        frequency = np.fft.rfftfreq(len(noise), 1 / 16_000)
        assert power[frequency > 4600].mean() < 1e-4 * power[(frequency > 500) & (frequency < 3000)].mean()


def g711_levels(name):
    """Values >= 0 that G.711's decoder knows, of 16 bit, and half the width of their intervals.

    By the recommendation's formulas: (128,) each, tables 1a and 2a.
    """
    segment, step = np.divmod(np.arange(128), 16)
    if name == "ulaw":  # of 14 bits: (2 m + 33) 2^e - 33
        return ((2 * step + 33) << segment + 2) - 132, 4 << segment
    shift = np.maximum(segment - 1, 0)
    return np.where(segment == 0, 2 * step + 1, (2 * step + 33) << shift) << 3, 8 << shift


@pytest.mark.parametrize("name, largest", [("alaw", 32_256), ("ulaw", 32_124)])
def test_g711_gives_the_values_of_the_recommendation(name, largest):
    given = np.arange(-32_000, 32_001)
    coded = codecs._by_libsndfile(given / 32768, CODECS[name], None) * 32768
    levels, half = g711_levels(name)
    place = np.searchsorted(levels, np.abs(coded))
    assert np.array_equal(levels[place], np.abs(coded)) and len(set(place)) == 128 and levels[-1] == largest
    # libsndfile drops the lowest bits before it decides: 4 of A-law, 2 of mu-law
    assert (np.abs(coded - given) <= half[place] + {"alaw": 16, "ulaw": 4}[name]).all()


def test_a_codec_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(CODECS, "mp3", CODECS["mp3"]._replace(encoder="no_such_coder"))
    with pytest.raises(AsvtkError, match="mp3: neither .* they have aac, opus.*ulaw$"):
        code(voice(100), "mp3", 32)
