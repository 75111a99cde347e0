"""LFCC against a plain transcription of its definition, and the field's crop."""

import numpy as np
import pytest
import soundfile
import torch

from asvtk.frontends.base import Conditioning, Crop
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.lfcc import Lfcc, LfccConfig


def definition(audio):
    """The features of the module's docstring, one number at a time."""
    emphasised = [audio[0]] + [audio[i] - 0.97 * audio[i - 1] for i in range(1, len(audio))]
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(320) / 319)
    static = []
    for start in range(0, len(audio) - 319, 160):
        frame = np.zeros(512)
        frame[:320] = np.array(emphasised[start : start + 320]) * window
        power = [abs(sum(frame * np.exp(-2j * np.pi * k * np.arange(512) / 512))) ** 2 for k in range(257)]
        step = 8000 / 21
        energies = []
        for peak in range(1, 21):
            weights = [max(0.0, 1 - abs(k * 31.25 - peak * step) / step) for k in range(257)]
            energies.append(np.log10(np.dot(weights, power) + np.finfo(np.float32).eps))
        scale = [np.sqrt(1 / 20)] + [np.sqrt(2 / 20)] * 19
        static.append(
            [
                scale[q] * sum(energies[n] * np.cos(np.pi * q * (n + 0.5) / 20) for n in range(20))
                for q in range(20)
            ]
        )
    static = np.array(static)

    def difference(x):
        last = len(x) - 1
        return np.array([x[min(t + 1, last)] - x[max(t - 1, 0)] for t in range(len(x))])

    return np.concatenate([static, difference(static), difference(difference(static))], axis=1)


def test_features_follow_the_definition():
    audio = np.random.default_rng(0).normal(size=1500).astype(np.float32) * 0.1
    lfcc = Lfcc(LfccConfig(crop=Crop(samples=None)))
    found = Extractor(lfcc)([lfcc.prepare(audio)], (0,))[0][0]
    assert found.shape == (8, 60) and found.dtype == np.float32
    np.testing.assert_allclose(found, definition(audio), atol=2e-4)


@pytest.mark.parametrize("samples", [1, 319, 320, 500])
def test_shortest_audio_gives_frames(samples):
    lfcc = Lfcc(LfccConfig(crop=Crop(samples=None)))
    features = Extractor(lfcc)([lfcc.prepare(np.ones(samples, np.float32))], (0,))[0][0]
    assert features.shape == lfcc.shape(samples) and features.shape[0] >= 1 and np.isfinite(features).all()


def test_silence_is_finite():
    lfcc = Lfcc(LfccConfig())
    assert np.isfinite(Extractor(lfcc)([np.zeros(64600, np.float32)], (0,))[0][0]).all()


def test_what_an_utterance_gets_does_not_depend_on_its_company():
    lfcc, audio = Lfcc(LfccConfig()), np.random.default_rng(0).normal(size=(3, 64600)).astype(np.float32)
    together, alone = Extractor(lfcc)(list(audio), (0,))[1][0], Extractor(lfcc)([audio[1]], (0,))[0][0]
    np.testing.assert_array_equal(together, alone)


def test_crop_takes_the_head_and_repeats_what_is_shorter():
    audio = np.arange(5, dtype=np.float32)
    assert Crop(3)(audio).tolist() == [0, 1, 2]
    assert Crop(12)(audio).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert Crop(12, repeat=False)(audio).tolist() == audio.tolist()
    assert Crop(None)(audio).tolist() == audio.tolist()
    for crop in (Crop(3), Crop(12), Crop(12, repeat=False), Crop(None)):
        assert crop.length(5) == len(crop(audio))


@pytest.mark.parametrize("sizes", [{}, {"window": 400, "shift": 120}, {"window": 200, "shift": 200}])
def test_windows_of_a_stream_are_extended_to_what_they_are_alone(shared_data, sizes):
    clips = sorted((shared_data / "la_real/LA").glob("*eval/flac/*"))[:8]
    audio = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in clips])
    window, hop, torn = 32_000, 20 * sizes.get("shift", 160), 50
    lfcc = Lfcc(LfccConfig(**sizes, crop=Crop(window)))
    extend, computed = lfcc.extension(window), []
    lfcc.cepstra.filterbank.register_forward_hook(lambda _, __, bands: computed.append(bands.shape[1]))
    # One after the other, one left out, the same again, one between frames, far away, back.
    for start in [0, hop, 2 * hop, 4 * hop, 4 * hop, 4 * hop + torn, 5 * hop + torn, 80_000, 0]:
        heard = audio[start : start + window]
        found = extend(start, heard)
        whole = lfcc.lower(torch.from_numpy(heard)[None], None)[0]
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    of_windows, whole = computed[::2], computed[1]
    assert [frames < whole / 2 for frames in of_windows] == [
        False, True, True, True, False, False, True, False, False
    ]  # fmt: skip


def test_what_is_of_a_whole_window_is_not_extended():
    for config in (
        LfccConfig(crop=Crop(64_600), conditioning=Conditioning(loudness_db=-26)),
        LfccConfig(crop=Crop(64_600), conditioning=Conditioning(lowpass_hz=4000)),
        LfccConfig(crop=Crop(64_601)),  # repeats
        LfccConfig(crop=Crop(64_599)),  # cuts off
    ):
        assert Lfcc(config).extension(64_600) is None
    assert Lfcc(LfccConfig(crop=Crop(64_600))).extension(64_600) is not None
    assert Lfcc(LfccConfig(crop=Crop(None))).extension(64_600) is not None
