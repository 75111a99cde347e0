"""What all augmentations promise, their randomness, and chains of them."""

import json

import numpy as np
import pytest
from scipy import signal

from asvtk.augment.waveform import (
    AUGMENTATION_CONFIGS,
    AUGMENTATIONS,
    Chain,
    Step,
    augment,
)
from asvtk.io.errors import AsvtkError
from asvtk.io.randomness import utterance_generator

ALL = [
    config
    for augmentation in AUGMENTATIONS
    for config in (
        [augmentation(kinds=(kind,)) for kind in augmentation().kinds]
        if hasattr(augmentation(), "kinds")
        else [augmentation()]
    )
]


def identify(config):
    return "-".join([config.name, *getattr(config, "kinds", ())])


@pytest.fixture(params=ALL, ids=identify)
def config(request):
    return request.param


def speechlike(samples, peak=0.5):
    noise = np.random.default_rng(0).standard_normal(samples) * (1.2 + np.sin(np.arange(samples) / 300))
    return (peak * noise / np.abs(noise).max()).astype(np.float32)


@pytest.mark.parametrize(
    "x",
    [
        np.sign(np.sin(np.arange(64600) / 20 + 0.1)),
        np.ones(1),
        np.full(1, -1e-4),
        np.ones(2),
        speechlike(100, 1),
        np.eye(1, 20000)[0],
        1e-30 * np.sin(np.arange(5000)),
        32768 * np.sin(np.arange(5000)),
        speechlike(20 * 16000),
    ],
    ids=["square", "one sample", "faint sample", "two", "short", "click", "faint", "integers", "20 s"],
)
def test_any_utterance_gives_one_as_long_within_full_scale(config, x):
    x = x.astype(np.float32)
    kept = x.copy()
    for seed in range(3):
        made = augment(config, x, np.random.default_rng(seed))
        assert made.dtype == np.float32
        assert made.shape == x.shape
        assert np.isfinite(made).all()
        assert np.abs(made).max() <= 1
        assert np.array_equal(x, kept)
        assert not np.shares_memory(made, x)


@pytest.mark.parametrize("samples", [0, 1, 5000])
def test_silence_stays_silence(config, samples):
    x = np.zeros(samples, np.float32)
    made = augment(config, x, np.random.default_rng(0))
    assert made.shape == (samples,)
    assert not made.any()
    assert made is not x


def test_randomness_comes_from_the_generator_only(config):
    x = speechlike(20000)
    first, again = (augment(config, x, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, x)
    if getattr(config, "kinds", ()) not in (("mu_law",), ("telephone",)):  # these draw nothing
        assert not np.array_equal(first, augment(config, x, np.random.default_rng(2)))


def test_an_augmentation_leaves_the_speech_recognisable_and_in_time(config):
    noise = np.random.default_rng(0).standard_normal(32000)
    x = signal.sosfilt(signal.butter(2, (500, 2500), "bandpass", fs=16000, output="sos"), noise)
    x = (0.3 * x / np.abs(x).max()).astype(np.float32)
    for seed in range(20):
        made = augment(config, x, np.random.default_rng(seed))
        likeness = np.abs(signal.correlate(made, x)) / np.linalg.norm(made) / np.linalg.norm(x)
        assert likeness.max() > 0.6  # two noises of that spectrum: 0.02; a polarity has no sound
        assert abs(np.argmax(likeness) - (len(x) - 1)) <= 8  # half a millisecond


# -- chains ----------------------------------------------------------------------------------------------

SECTIONS = [
    {"name": "rawboost", "algorithm": 3, "snr": [10, 20]},
    {"name": "codec", "kinds": ["telephone"], "probability": 0.5},
    {"name": "gain", "probability": 0},
]


def test_a_chain_comes_from_a_list_and_goes_back():
    chain = Chain.build(SECTIONS, "conf.yaml: augment")
    assert [step.probability for step in chain.steps] == [1, 0.5, 0]
    assert chain.steps[0].config == AUGMENTATION_CONFIGS["rawboost"](algorithm=3, snr=(10.0, 20.0))
    described = json.loads(json.dumps(chain.describe()))
    assert described[1] == {**described[1], "name": "codec", "kinds": ["telephone"], "probability": 0.5}
    assert Chain.build(described, "here") == chain
    assert SECTIONS[1]["probability"] == 0.5  # what it was built from is left as it was


def test_a_chain_does_its_steps_in_order():
    loud = {"name": "gain", "gain": [12, 12]}
    soft = {"name": "gain", "gain": [-12, -12]}
    x = np.full(10, 0.5, np.float32)
    rng = np.random.default_rng(0)
    assert np.allclose(Chain.build([soft, loud], "")(x, rng), 0.5)
    assert np.allclose(Chain.build([loud, soft], "")(x, rng), 10 ** (-12 / 20))  # scaled to 1 in between
    assert np.array_equal(Chain.build([], "")(x, rng), x)
    assert x[0] == 0.5


def test_each_step_happens_with_its_own_probability_independently():
    kinds = [{"gain": (20.0, 20.0), "p": 0.3}, {"gain": (-40.0, -40.0), "p": 0.6}]
    config = AUGMENTATION_CONFIGS["gain"]
    chain = Chain(tuple(Step(config(kind["gain"]), kind["p"]) for kind in kinds))
    x = np.full(1, 1e-3, np.float32)
    outcomes = [20 * np.log10(chain(x, utterance_generator(0, f"u{i}", 0))[0] / 1e-3) for i in range(1000)]
    shares = {level: np.mean(np.isclose(outcomes, level, atol=0.1)) for level in (0, 20, -40, -20)}
    assert sum(shares.values()) == 1
    for level, expected in {0: 0.7 * 0.4, 20: 0.3 * 0.4, -40: 0.7 * 0.6, -20: 0.3 * 0.6}.items():
        assert shares[level] == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "gain"}, r"conf\.yaml: expected a list"),
        (["gain"], r"conf\.yaml: expected a list"),
        ([{"algorithm": 5}], r"conf\.yaml\[0\]: the key 'name' is missing"),
        ([{"name": "rawbost"}], r"did you mean 'rawboost'"),
        ([{"name": "gain"}, {"name": "codec", "kind": 1}], r"conf\.yaml\[1\].*did you mean 'kinds'"),
        ([{"name": "gain", "probability": 1.5}], r"conf\.yaml\[0\]: probability must lie"),
        ([{"name": "gain", "probability": "often"}], r"conf\.yaml\[0\]\.probability.*a number"),
        ([{"name": "rawboost", "algorithm": 9}], r"conf\.yaml\[0\]: algorithm"),
    ],
)
def test_a_wrong_chain_is_refused_where_it_is_wrong(content, message):
    with pytest.raises(AsvtkError, match=message):
        Chain.build(content, "conf.yaml")
