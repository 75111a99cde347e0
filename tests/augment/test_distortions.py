"""Each distortion does what its name and its configuration say, measured from outside."""

import numpy as np
import pytest
from scipy import signal

from asvtk.augment import distortions
from asvtk.augment.distortions import (
    CodecConfig,
    ColouredNoiseConfig,
    GainConfig,
    ReverberationConfig,
    codec,
    coloured_noise,
    gain,
    reverberation,
)

RATE = 16000


def noise(samples, scale=0.1, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def decibels(power_ratio):
    return 10 * np.log10(power_ratio)


def energy(x):
    return np.sum(np.square(x, dtype=np.float64))


def click(samples, at):
    x = np.zeros(samples, np.float32)
    x[at] = 1
    return x


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("snr", [0.0, 25.0])
def test_coloured_noise_has_the_asked_ratio_and_slope(snr, exponent):
    x = noise(8 * RATE, seed=1)
    config = ColouredNoiseConfig(snr=(snr, snr), exponent=(exponent, exponent))
    added = coloured_noise(config, x, np.random.default_rng(0)) - x
    assert decibels(energy(x) / energy(added)) == pytest.approx(snr, abs=0.1)
    frequency, power = signal.welch(added, RATE, nperseg=2048)
    inside = (frequency > 100) & (frequency < 7000)
    slope = np.polyfit(np.log10(frequency[inside]), np.log10(power[inside]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


@pytest.mark.parametrize(("rt60", "ratio"), [(0.2, 0.0), (0.8, 10.0), (1.5, 20.0)])
def test_a_room_decays_and_stands_to_the_direct_sound_as_asked(rt60, ratio):
    config = ReverberationConfig(rt60=(rt60, rt60), direct_to_reverberant=(ratio, ratio))
    response = reverberation(config, click(3 * RATE, 0), np.random.default_rng(3))
    assert response[0] == pytest.approx(1, abs=1e-5)
    assert np.abs(response[1:40]).max() < 1e-5
    assert decibels(1 / energy(response[1:])) == pytest.approx(ratio, abs=0.05)
    tail = response[40 : int(rt60 * RATE)].astype(float)
    left = decibels(np.cumsum(tail[::-1] ** 2)[::-1] / energy(tail))  # Schroeder's backward integration
    begin, end = np.argmax(left < -5), np.argmax(left < -25)
    assert 3 * (end - begin) / RATE == pytest.approx(rt60, rel=0.15)


def test_reverberation_is_a_convolution_that_keeps_time():
    x, config = noise(3000), ReverberationConfig()
    room = distortions.room(config, np.random.default_rng(2))
    expected = np.convolve(x, room)[:3000]
    assert np.allclose(reverberation(config, x, np.random.default_rng(2)), expected, atol=1e-5)


def test_mu_law_keeps_255_levels_fine_where_it_is_soft():
    x = np.linspace(-1, 1, 20001)
    made = codec(CodecConfig(kinds=("mu_law",)), x, np.random.default_rng(0))
    levels = np.unique(np.round(made, 9))
    assert len(levels) == 255
    assert {-1.0, 0.0, 1.0} <= set(levels)
    assert np.allclose(made, -made[::-1])
    assert (np.diff(made) >= -1e-12).all()
    assert np.abs(made - x)[np.abs(x) < 0.01].max() < 3e-4
    assert np.abs(made - x).max() < 0.03
    beyond = codec(CodecConfig(kinds=("mu_law",)), np.array([2.0, -3.0]), np.random.default_rng(0))
    assert np.allclose(beyond, [1, -1])


def test_mu_law_has_the_signal_to_noise_ratio_of_digital_telephony():
    for level in (1.0, 0.1, 0.03):  # that it hardly depends on the level is what the curve is for
        tone = level * np.sin(np.arange(RATE) * 0.3371)
        made = codec(CodecConfig(kinds=("mu_law",)), tone, np.random.default_rng(0))
        assert 34 < decibels(energy(tone) / energy(made - tone)) < 41


def test_a_telephone_has_no_bass_and_no_treble_and_keeps_time():
    x = noise(4 * RATE)
    made = codec(CodecConfig(kinds=("telephone",)), x, np.random.default_rng(0))
    frequency, before = signal.welch(x, RATE, nperseg=1024)
    _, after = signal.welch(made, RATE, nperseg=1024)
    change = decibels(after / before)
    assert np.abs(change[(frequency > 500) & (frequency < 3000)]).max() < 0.7
    outside = (frequency < 150) | (frequency > 4200)
    outside[0] = False  # welch takes the mean away
    assert (change[outside] < -25).all()
    correlation = signal.correlate(made, x, mode="full")
    assert abs(np.argmax(correlation) - (len(x) - 1)) < 0.001 * RATE


def test_mdct_is_its_definition_and_its_inverse_gives_all_back():
    x, frame = noise(5000, 1.0), distortions.FRAME
    coefficients = distortions.mdct(x)
    n, k = np.arange(2 * frame), np.arange(frame)
    basis = np.sqrt(2 / frame) * np.cos(np.pi / frame * np.outer(n + 0.5 + frame / 2, k + 0.5))
    window = np.sin(np.pi * (n + 0.5) / (2 * frame))
    padded = np.concatenate([np.zeros(frame), x, np.zeros(2 * frame)])
    for i, row in enumerate(coefficients):
        assert np.allclose(row, (padded[i * frame :][: 2 * frame] * window) @ basis, atol=1e-9)
    assert np.allclose(distortions.inverse_mdct(coefficients)[:5000], x, atol=1e-9)


def test_transform_coding_gets_worse_with_its_steps():
    x = noise(RATE)
    ratios, kept = [], []
    for coarseness in (0.0, 0.5, 1.0, 2.0):
        config = CodecConfig(
            kinds=("transform",), coarseness=(coarseness, coarseness), bandwidth=(8000.0, 8000.0)
        )
        made = codec(config, x, np.random.default_rng(0))
        ratios.append(decibels(energy(x) / max(energy(made - x), 1e-20)))
        kept.append(np.mean(np.abs(distortions.mdct(made)[1:-1]) > 1e-6))
    assert ratios[0] > 100
    assert ratios[1] == pytest.approx(decibels(12 / 0.5**2), abs=1)  # noise of rounding: step^2 / 12
    assert ratios[1] > ratios[2] > ratios[3] > 2
    # a Gaussian coefficient survives where it exceeds half a step: |z| > 0.25, 0.5, 1; a few more do in
    # the narrow bands, which hear themselves in their level
    assert kept[1:] == pytest.approx([0.803, 0.617, 0.317], abs=0.05)


def test_transform_coding_drops_the_treble():
    config = CodecConfig(kinds=("transform",), bandwidth=(5000.0, 5000.0))
    made = codec(config, noise(2 * RATE), np.random.default_rng(0))
    frequency, power = signal.welch(made, RATE, nperseg=1024)
    assert power[frequency > 5100].max() < 1e-4 * np.median(power[frequency < 4900])


def test_every_kind_of_codec_is_picked_and_no_other():
    x, kinds = click(8000, 4000), ("mu_law", "telephone", "transform")

    def send(allowed, seed):
        config = CodecConfig(kinds=allowed, coarseness=(1.0, 1.0), bandwidth=(6e3, 6e3))
        return codec(config, x, np.random.default_rng(seed))

    outcomes = {kind: send((kind,), 0) for kind in kinds}
    for allowed in (kinds, kinds[1:]):
        seen = set()
        for seed in range(30):
            made = send(allowed, seed)
            seen |= {kind for kind in kinds if np.allclose(made, outcomes[kind], atol=1e-7)}
        assert seen == set(allowed)


def test_gain_stays_in_its_range_and_changes_nothing_else():
    x, config = noise(100), GainConfig(gain=(-10.0, 5.0))
    drawn = []
    for seed in range(300):
        made = gain(config, x, np.random.default_rng(seed))
        assert np.allclose(made / made[0], x / x[0], rtol=1e-4)
        drawn.append(20 * np.log10(made[0] / x[0]))
    assert -10 <= min(drawn) < -9.8
    assert 4.8 < max(drawn) <= 5.001


@pytest.mark.parametrize(
    ("config", "knobs", "word"),
    [
        (ColouredNoiseConfig, {"snr": (30.0, 5.0)}, "snr"),
        (ColouredNoiseConfig, {"exponent": (0.0, 5.0)}, "exponent must lie in -4 to 4"),
        (ReverberationConfig, {"rt60": (0.0, 0.5)}, "rt60"),
        (CodecConfig, {"kinds": ("opus",)}, "mu_law, telephone, transform, not opus"),
        (CodecConfig, {"kinds": ()}, "not none"),
        (CodecConfig, {"bandwidth": (4000.0, 9000.0)}, "bandwidth"),
        (GainConfig, {"gain": (float("nan"), 0.0)}, "gain"),
    ],
)
def test_the_impossible_is_refused_by_name(config, knobs, word):
    with pytest.raises(ValueError, match=word):
        config(**knobs)
