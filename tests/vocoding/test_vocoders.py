"""Every vocoder on a made-up voice, and on the signals that real recordings throw at it."""

import builtins

import numpy as np
import pytest
from scipy import signal

from asvtk.io.errors import AsvtkError
from asvtk.vocoding.dsp import (
    excitation,
    frames,
    grid,
    hann,
    mel_matrix,
    overlap_add,
    stft,
    track_f0,
)
from asvtk.vocoding.vocoders import VOCODERS, vocode

RATE = 16000

#: mean distance of 24-band mel spectra that a method may have from its input, in dB; about 1.5 times
#: what it has. White noise of the same level is 26 dB away, the voice played backwards 11 dB.
FARTHEST = {
    "world": 1.8,
    "world_coded": 1.8,
    "world_buzzy": 1.8,
    "world_conversion": 6.0,
    "griffin_lim": 3.0,
    "random_phase": 3.0,
    "zero_phase": 2.2,
    "channel_noise": 3.4,
    "channel_pulse": 3.0,
    "sinusoidal": 1.6,
    "harmonic": 3.4,
    "lpc_vocoder": 2.7,
    "homomorphic": 3.0,
    "lpc_conversion": 6.0,
}


@pytest.fixture(params=VOCODERS)
def name(request):
    if request.param.startswith("world"):
        pytest.importorskip("pyworld")
    return request.param


def voice(seconds=1.5, seed=0):
    """Two vowels with a gliding F0, a fricative between them, digital silence at both ends."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    f0 = np.linspace(140, 100, count) * (1 + 0.05 * np.sin(2 * np.pi * 5 * np.arange(count) / RATE))
    source = np.diff(np.floor(np.cumsum(f0) / RATE), prepend=0) + 0.003 * rng.standard_normal(count)
    vowels = []
    for formants in ((700, 1220, 2600, 3500, 5200), (300, 2200, 2900, 3600, 5600)):
        vowel = source
        for formant, width in zip(formants, (80, 90, 150, 200, 300), strict=True):
            radius = np.exp(-np.pi * width / RATE)
            vowel = signal.lfilter(
                [1], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], vowel
            )
        vowels.append(vowel / vowel.std())
    hiss = signal.sosfilt(signal.butter(2, 3500, "high", fs=RATE, output="sos"), rng.standard_normal(count))
    points = np.array([0, 0.08, 0.1, 0.4, 0.42, 0.55, 0.57, 0.9, 0.92, 1]) * count
    at = np.arange(count)
    audio = sum(
        part * np.interp(at, points, shape)
        for part, shape in (
            (vowels[0], [0, 0, 1, 1, 0, 0, 0, 0, 0, 0]),
            (0.2 * hiss, [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
            (vowels[1], [0, 0, 0, 0, 0, 0, 1, 1, 0, 0]),
        )
    )
    return 0.06 * audio / audio.std()


def decibels(ratio):
    return 20 * np.log10(ratio)


def rms(audio):
    return np.sqrt(np.mean(np.square(audio, dtype=np.float64)))


def distance(one, other):
    size, hop = grid(RATE)
    bands = mel_matrix(24, size, RATE).T
    floor = 1e-4 * np.max(np.abs(stft(one, size, hop)) @ bands)
    one, other = (np.log10(np.abs(stft(x, size, hop)) @ bands + floor) for x in (one, other))
    return 20 * np.mean(np.abs(one - other))


def test_vocoded_speech_is_the_same_speech_made_anew(name):
    audio = voice()
    made = vocode(name, audio, RATE, np.random.default_rng(1))
    assert made.shape == audio.shape
    assert np.isfinite(made).all()
    assert abs(decibels(rms(made) / rms(audio))) < 0.1
    assert distance(audio, made) < FARTHEST[name]
    assert rms(made - audio) > 0.05 * rms(audio)


def test_the_bounds_tell_speech_from_garbage():
    audio = voice()
    noise = np.random.default_rng(0).standard_normal(len(audio)) * audio.std()
    assert set(FARTHEST) == set(VOCODERS)
    assert distance(audio, noise) > 1.5 * max(FARTHEST.values())
    assert distance(audio, audio[::-1]) > 1.5 * max(FARTHEST.values())


def test_silence_around_speech_stays_silence(name):
    audio = np.concatenate([np.zeros(RATE // 2), voice(), np.zeros(RATE // 2)])
    made = vocode(name, audio, RATE, np.random.default_rng(1))
    quiet = np.concatenate([made[: RATE // 3], made[-RATE // 3 :]])
    assert decibels(rms(quiet) / rms(made)) < -90


def test_randomness_comes_from_the_generator_only(name):
    audio = voice(0.5)
    first, again, other = (vocode(name, audio, RATE, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_float32_in_float32_out(name):
    audio = voice()
    single = vocode(name, audio.astype(np.float32), RATE, np.random.default_rng(1))
    assert single.dtype == np.float32
    assert vocode(name, audio, RATE, np.random.default_rng(1)).dtype == np.float64
    assert distance(audio, single.astype(np.float64)) < FARTHEST[name]


@pytest.mark.parametrize("samples", [0, 1, 7, 400, 4800])
def test_short_audio(name, samples):
    audio = voice()[6000 : 6000 + samples]
    made = vocode(name, audio, RATE, np.random.default_rng(1))
    assert made.shape == audio.shape
    assert np.isfinite(made).all()
    if samples == 4800:
        assert abs(decibels(rms(made) / rms(audio))) < 1


def test_silence_gives_silence(name):
    made = vocode(name, np.zeros(RATE, np.float32), RATE, np.random.default_rng(1))
    assert made.dtype == np.float32
    assert not made.any()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda audio: np.clip(30 * audio, -1, 1),  # recorded far too loud
        lambda audio: 1e-6 * audio,  # far too quiet
        lambda audio: audio + 0.2,  # offset of a bad sound card
        lambda audio: audio + 0.3 * np.sin(np.arange(len(audio)) / 90),  # a lorry passes: 28 Hz
        lambda audio: np.where(np.arange(len(audio)) == 5000, 0.9, 0.0),  # one click
        lambda audio: 20 * audio,  # floats beyond full scale
    ],
    ids=["clipped", "faint", "offset", "rumble", "click", "beyond"],
)
def test_level_and_full_scale_on_bad_recordings(name, spoil):
    audio = spoil(voice(0.6))
    made = vocode(name, audio, RATE, np.random.default_rng(1))
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= max(0.99, np.abs(audio).max()) + 1e-9
    assert abs(decibels(rms(made) / rms(audio))) < 1


@pytest.mark.parametrize("rate", [8000, 48000])
def test_other_sample_rates(name, rate):
    audio = signal.resample(voice(0.5), int(0.5 * rate))
    made = vocode(name, audio, rate, np.random.default_rng(1))
    assert made.shape == audio.shape
    assert np.isfinite(made).all()
    assert abs(decibels(rms(made) / rms(audio))) < 1


@pytest.mark.parametrize("name", ["world_conversion", "lpc_conversion"])
def test_a_conversion_moves_the_formants(name):
    if name.startswith("world"):
        pytest.importorskip("pyworld")
    assert VOCODERS[name].kind == "VC"

    def centre(audio):
        frequency, power = signal.welch(audio, RATE, nperseg=1024)
        return np.sum(frequency * np.sqrt(power)) / np.sum(np.sqrt(power))

    up, down = (vocode(name, voice(), RATE, np.random.default_rng(1), warp=warp) for warp in (1.2, 1 / 1.2))
    assert centre(down) < centre(voice()) < centre(up)


def test_world_conversion_moves_the_pitch():
    pytest.importorskip("pyworld")
    made = vocode("world_conversion", voice(), RATE, np.random.default_rng(1), pitch=1.5, warp=1.0)
    old, new = (track_f0(audio, RATE, 128) for audio in (voice(), made))
    assert np.median(new[new > 0]) / np.median(old[old > 0]) == pytest.approx(1.5, rel=0.03)


def test_fewer_mels_lose_more():
    rich, poor = (
        vocode("griffin_lim", voice(), RATE, np.random.default_rng(1), mels=mels) for mels in (80, 12)
    )
    assert distance(voice(), poor) > distance(voice(), rich)


@pytest.mark.parametrize(
    ("audio", "word"),
    [
        (np.zeros((2, 100)), "one channel"),
        (np.zeros(100, np.int16), "float"),
        (np.array([0.0, np.nan, 0.1]), "nan"),
        (np.array([0.0, np.inf, 0.1]), "infinite"),
    ],
)
def test_audio_that_no_method_takes(audio, word):
    with pytest.raises(AsvtkError, match=word):
        vocode("zero_phase", audio, RATE, np.random.default_rng(1))


def test_unknown_name_lists_the_known():
    with pytest.raises(AsvtkError, match="griffin_lim"):
        vocode("hifigan", voice(), RATE, np.random.default_rng(1))


def test_without_pyworld_the_remedy_is_told(monkeypatch):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "pyworld":
            raise ModuleNotFoundError("No module named 'pkg_resources'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(AsvtkError, match=r'pip install "asvtk\[mini\]".*setuptools < 81'):
        vocode("world", voice(0.3), RATE, np.random.default_rng(1))


def test_frames_and_overlap_add_are_inverse_from_the_first_sample_to_the_last():
    audio = np.random.default_rng(0).standard_normal(1003)
    blocks = frames(audio, 64, 16) * hann(64)
    assert np.allclose(overlap_add(blocks, 16, len(audio)) / 2, audio)


def test_frames_of_any_size_have_the_same_centres():
    audio = np.arange(1.0, 200.0)
    for size in (8, 32, 50):
        assert np.array_equal(frames(audio, size, 8)[2:20, size // 2], audio[: 18 * 8 : 8])


def test_f0_is_found_where_there_is_one():
    seconds = np.arange(RATE) / RATE
    tone = signal.sawtooth(2 * np.pi * 187.3 * seconds)
    noise = np.random.default_rng(0).standard_normal(RATE)
    f0 = track_f0(np.concatenate([tone, noise]), RATE, 128)
    assert np.median(f0[10:100]) == pytest.approx(187.3, rel=0.005)
    assert np.mean(f0[140:] > 0) < 0.05


def test_excitation_has_power_one_and_the_right_number_of_pulses():
    f0 = np.zeros(300)
    f0[:130] = 125.0
    source = excitation(f0, 128, 32000, RATE, np.random.default_rng(0))
    assert np.count_nonzero(source[:16000]) == pytest.approx(125, abs=1)
    assert np.mean(source[:16000] ** 2) == pytest.approx(1, rel=0.05)
    assert np.mean(source[17000:] ** 2) == pytest.approx(1, rel=0.05)


def test_no_mel_band_is_empty():
    matrix = mel_matrix(128, 256, RATE)
    assert (matrix.max(axis=1) > 0).all()
