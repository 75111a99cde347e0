"""RawBoost against its definitions, written out slowly here, on the same draws; then its promises."""

import numpy as np
import pytest
from scipy import signal

from asvtk.augment.rawboost import (
    ConvolutiveNoise,
    ImpulsiveNoise,
    Notches,
    RawBoostConfig,
    StationaryNoise,
    rawboost,
)
from asvtk.io.config import build, to_mapping
from asvtk.io.errors import AsvtkError

RATE = 16000
SERIES = {1: "C", 2: "I", 3: "S", 4: "CIS", 5: "CI", 6: "CS", 7: "IS"}
KINDS = {"C": ConvolutiveNoise, "I": ImpulsiveNoise, "S": StationaryNoise}


def speechlike(samples, peak=0.5, seed=0):
    """Noise that swells and fades, with a low-pass spectrum."""
    noise = signal.lfilter([1], [1, -0.9], np.random.default_rng(seed).standard_normal(samples))
    noise *= 1.2 + np.sin(np.arange(samples) / 300)
    return (peak * noise / np.abs(noise).max()).astype(np.float32)


# -- the definitions, in double precision, sample by sample ------------------------------------------------


def plain_coefficients(centres, widths, taps, gain):
    cascade = np.ones(1)
    for centre, width, count in zip(centres, widths, taps, strict=True):
        low, high = centre - width / 2, centre + width / 2
        if low <= 0:
            low = 0.001
        if high >= RATE / 2:
            high = RATE / 2 - 0.001
        cascade = np.convolve(cascade, signal.firwin(int(count), [low, high], window="hamming", fs=RATE))
    _, response = signal.freqz(cascade, worN=512)
    return 10 ** (gain / 20) * cascade / np.abs(response).max()


def plain_filter(x, coefficients):
    whole = np.zeros(len(x) + len(coefficients) - 1)
    for delay, coefficient in enumerate(coefficients):
        whole[delay : delay + len(x)] += coefficient * x
    centre = (len(coefficients) - 1) // 2
    return whole[centre : centre + len(x)]


def plain_normalise(x):
    peak = max(abs(sample) for sample in x)
    return x / peak if peak > 1 else x


def plain_convolutive(x, noise):
    y = np.zeros(len(x))
    for i, filter_of_power in enumerate(zip(*noise.notches, strict=True)):
        y += plain_filter(x ** (i + 1), plain_coefficients(*filter_of_power))
    return plain_normalise(y - np.mean(y))


def plain_impulsive(x, noise):
    y = x.copy()
    for position, factor in zip(noise.positions, noise.factors, strict=True):
        y[position] = x[position] + 2 * x[position] * factor
    return plain_normalise(y)


def plain_stationary(x, noise):
    (only,) = zip(*noise.notches, strict=True)
    hiss = plain_filter(noise.white.astype(float), plain_coefficients(*only))
    hiss = hiss / max(abs(sample) for sample in hiss)
    hiss = hiss / np.sqrt(sum(hiss**2)) * np.sqrt(sum(x**2)) / 10 ** (0.05 * noise.snr)
    return plain_normalise(x + hiss)


PLAIN = {"C": plain_convolutive, "I": plain_impulsive, "S": plain_stationary}


@pytest.mark.parametrize("samples", [2, 37, 700, 6000])
@pytest.mark.parametrize("algorithm", range(9))
def test_every_algorithm_is_its_definition(algorithm, samples):
    x, config = speechlike(samples, peak=0.99), RawBoostConfig(algorithm=algorithm)
    made = rawboost(config, x, np.random.default_rng(5))
    rng, expected = np.random.default_rng(5), x.astype(float)
    if algorithm == 8:
        one, other = (KINDS[step].draw(config, samples, rng) for step in "CI")
        expected = plain_normalise(plain_convolutive(expected, one) + plain_impulsive(expected, other))
    else:
        steps = SERIES.get(algorithm, "")
        for step, noise in [(step, KINDS[step].draw(config, samples, rng)) for step in steps]:
            expected = PLAIN[step](expected, noise)
    assert made.dtype == np.float32
    assert made.shape == x.shape
    assert np.abs(made - expected).max() < 2e-6
    if algorithm == 0 or samples >= 700:  # ten percent of less may be no sample at all
        assert (algorithm == 0) == np.array_equal(made, x)


@pytest.mark.parametrize(
    "knobs",
    [
        {"bands": 1, "taps": (2, 3), "powers": 1},
        {"bands": 9, "taps": (300, 700), "powers": 2},  # cascades of up to 6300 taps
        {"centre": (0.0, 300.0), "bandwidth": (900.0, 1000.0)},  # every band goes down to 0 Hz
        {"centre": (7900.0, 8000.0), "bandwidth": (900.0, 1000.0)},  # and up to the Nyquist frequency
        {"gain": (-6, 3), "bias": (1.5, 2)},
    ],
    ids=["tiny", "long", "lowest", "highest", "gain"],
)
def test_filters_of_other_knobs_are_their_definition_too(knobs):
    x, config = speechlike(3000), RawBoostConfig(algorithm=1, **knobs)
    noise = ConvolutiveNoise.draw(config, len(x), np.random.default_rng(2))
    assert np.abs(noise(x) - plain_convolutive(x.astype(float), noise)).max() < 2e-6


# -- what is drawn ---------------------------------------------------------------------------------------


def test_filters_are_drawn_from_the_published_ranges():
    rng, config = np.random.default_rng(0), RawBoostConfig()
    notches = [Notches.draw(config, 5, rng) for _ in range(400)]
    centre, width, taps = (np.stack([getattr(n, f) for n in notches]) for f in ("centre", "width", "taps"))
    gain = np.stack([n.gain for n in notches])
    assert centre.shape == width.shape == taps.shape == (400, 5, 5)
    for drawn, least, most in ((centre, 20, 8000), (width, 100, 1000), (gain[:, 1:], -20, -5)):
        assert least <= drawn.min() < least + 0.01 * (most - least)
        assert most - 0.01 * (most - least) < drawn.max() <= most
        assert drawn.mean() == pytest.approx((least + most) / 2, rel=0.03)
    assert not gain[:, 0].any()
    assert set(np.unique(taps)) == set(range(11, 101, 2))


def test_impulses_touch_up_to_ten_percent_by_products_of_uniform_draws():
    rng, config = np.random.default_rng(0), RawBoostConfig()
    noises = [ImpulsiveNoise.draw(config, 2000, rng) for _ in range(400)]
    shares = np.array([len(noise.positions) / 2000 for noise in noises])
    assert 0.098 < shares.max() <= 0.1
    assert shares.mean() == pytest.approx(0.05, abs=0.005)
    assert all(len(np.unique(noise.positions)) == len(noise.positions) for noise in noises)
    hits = np.bincount(np.concatenate([noise.positions for noise in noises]), minlength=2000)
    assert hits.min() > 0  # about 20 each: anywhere in the signal
    factors = np.concatenate([noise.factors for noise in noises])
    assert np.abs(factors).max() < 1
    assert factors.mean() == pytest.approx(0, abs=0.01)
    assert factors.var() == pytest.approx(1 / 9, rel=0.05)


@pytest.mark.parametrize("touched", [0.0, 5.0, 100.0])
def test_impulses_change_the_drawn_samples_and_no_other(touched):
    x = speechlike(5000, peak=0.2)
    noise = ImpulsiveNoise.draw(RawBoostConfig(touched=touched), len(x), np.random.default_rng(4))
    changed = np.flatnonzero(noise(x) != x)
    assert set(changed) <= set(noise.positions)
    assert len(changed) >= 0.99 * len(noise.positions)
    assert len(changed) <= touched / 100 * len(x)


# -- what the noises promise -----------------------------------------------------------------------------


def test_a_notch_stops_its_band_and_nothing_else():
    notches = Notches(np.array([[3000.0]]), np.array([[800.0]]), np.array([[99]]), np.array([0.0]))
    impulse = np.zeros(4096, np.float32)
    impulse[2048] = 1
    made = notches.filter([impulse])
    frequency, response = signal.freqz(made, worN=2048, fs=RATE)
    gain = 20 * np.log10(np.abs(response) + 1e-9)
    assert (gain[np.abs(frequency - 3000) < 200] < -25).all()
    assert np.abs(gain[np.abs(frequency - 3000) > 700]).max() < 0.1
    assert np.abs(response[:2047]).max() == pytest.approx(1, abs=1e-3)
    assert np.allclose(made[2048:2148], made[2048:1948:-1], atol=1e-7)  # in time with the input


def test_convolutive_noise_makes_the_harmonics_of_a_tone():
    tone = 0.9 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    config = RawBoostConfig(algorithm=1, centre=(7000.0, 7000.0), bandwidth=(100.0, 100.0))
    spectrum = np.abs(np.fft.rfft(rawboost(config, tone, np.random.default_rng(0))))
    assert (spectrum[[2000, 3000, 4000, 5000]] > 50 * np.median(spectrum)).all()
    assert spectrum[0] < 1e-3 * spectrum[1000]  # no mean, although even powers have one


@pytest.mark.parametrize("seed", range(6))
def test_stationary_noise_has_the_drawn_ratio_and_leaves_its_notch_empty(seed):
    x = speechlike(4 * RATE, peak=0.1)
    config = RawBoostConfig(
        bands=1, centre=(4000.0, 4000.0), bandwidth=(1000.0, 1000.0), taps=(99, 99), snr=(0.0, 40.0)
    )
    noise = StationaryNoise.draw(config, len(x), np.random.default_rng(seed))
    added = noise(x).astype(float) - x
    assert 10 * np.log10(np.sum(x.astype(float) ** 2) / np.sum(added**2)) == pytest.approx(noise.snr, abs=0.1)
    frequency, power = signal.welch(added, RATE, nperseg=1024)
    assert power[np.abs(frequency - 4000) < 250].mean() < 0.01 * power[np.abs(frequency - 2000) < 250].mean()


@pytest.mark.parametrize("algorithm", range(1, 9))
def test_peaks_stay_within_full_scale(algorithm):
    config = RawBoostConfig(algorithm=algorithm, snr=(0.0, 0.0))
    for seed in range(5):
        assert np.abs(rawboost(config, speechlike(4000, peak=1), np.random.default_rng(seed))).max() <= 1


@pytest.mark.parametrize("algorithm", range(9))
@pytest.mark.parametrize(
    "x",
    [
        np.sign(np.sin(np.arange(64600) / 20 + 0.1)),
        np.ones(1),
        np.full(1, -1e-4),
        np.ones(3000),
        np.eye(1, 20000)[0],
        1e-30 * np.sin(np.arange(5000)),
        32768 * np.sin(np.arange(5000)),
        speechlike(20 * RATE),
    ],
    ids=["square", "one sample", "one faint sample", "constant", "click", "faint", "integers", "20 s"],
)
def test_extremes_stay_finite_and_as_long(algorithm, x):
    x = x.astype(np.float32)
    kept = x.copy()
    made = rawboost(RawBoostConfig(algorithm=algorithm), x, np.random.default_rng(1))
    assert made.shape == x.shape
    assert np.isfinite(made).all()
    assert np.array_equal(x, kept)
    assert not np.shares_memory(made, x)


@pytest.mark.parametrize("samples", [0, 1, 5000])
@pytest.mark.parametrize("algorithm", range(9))
def test_silence_stays_silence(algorithm, samples):
    made = rawboost(RawBoostConfig(algorithm=algorithm), np.zeros(samples, np.float32), None)
    assert made.shape == (samples,)
    assert not made.any()
    if samples:
        noise = StationaryNoise.draw(RawBoostConfig(), samples, np.random.default_rng(0))
        assert not noise(np.zeros(samples, np.float32)).any()
        assert np.array_equal(
            noise._replace(white=np.zeros(samples, np.float32))(x := speechlike(samples)), x
        )


@pytest.mark.parametrize("algorithm", range(1, 9))
def test_randomness_comes_from_the_generator_only(algorithm):
    config, x = RawBoostConfig(algorithm=algorithm), speechlike(5000)
    first, again, other = (rawboost(config, x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# -- configuration ---------------------------------------------------------------------------------------


def test_configuration_comes_from_yaml_and_goes_back():
    config = build(RawBoostConfig, {"algorithm": 3, "snr": [5, 15], "taps": [20, 30]}, "conf.yaml")
    assert config == RawBoostConfig(algorithm=3, snr=(5.0, 15.0), taps=(20, 30))
    content = to_mapping(config)
    assert content.pop("name") == "rawboost"
    assert build(RawBoostConfig, content, "conf.yaml") == config


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"algorithm": 9}, "algorithm"),
        ({"algorithm": -1}, "algorithm"),
        ({"bands": 0}, "bands"),
        ({"powers": 0}, "powers"),
        ({"snr": [40, 10]}, "snr"),
        ({"snr": [10]}, "snr"),
        ({"snr": [10, ".inf"]}, "snr"),
        ({"gain": ["nan", 0]}, "gain"),
        ({"centre": [20, 8001]}, "centre"),
        ({"bandwidth": [0, 1000]}, "bandwidth"),
        ({"taps": [1, 100]}, "taps"),
        ({"taps": [10.5, 100]}, "taps"),
        ({"touched": 101}, "touched"),
        ({"impulse_gain": -1}, "impulse_gain"),
    ],
)
def test_the_impossible_is_refused_by_name(knobs, word):
    with pytest.raises(AsvtkError, match=rf"conf\.yaml.*{word}"):
        build(RawBoostConfig, knobs, "conf.yaml")
