"""Neural vocoders: shapes, training that lowers its losses, weights and their faults, copies of clips."""

import numpy as np
import pytest
import torch

from asvtk.augment.neural import training
from asvtk.augment.neural.config import VocoderConfig
from asvtk.augment.neural.discriminators import Discriminators
from asvtk.augment.neural.generators import GENERATORS
from asvtk.augment.neural.spectra import HOP, MELS, log_mel, spectral_distance
from asvtk.augment.neural.training import train_vocoder
from asvtk.augment.neural.weights import load_generator, save_generator
from asvtk.augment.resynthesis import NEURAL
from asvtk.io.errors import AsvtkError


@pytest.fixture(scope="module")
def speech():
    rng = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    return [
        (0.1 * np.sin(2 * np.pi * f * time) + 0.01 * rng.standard_normal(16_000)).astype(np.float32)
        for f in (150, 220)
    ]


@pytest.fixture(scope="module")
def spectral(speech, tmp_path_factory):
    """A barely trained generator's weights."""
    generator, distance = train_vocoder("spectral", speech, VocoderConfig(steps=3, batch_size=2), "cpu")
    assert np.isfinite(distance) and not generator.training
    path = tmp_path_factory.mktemp("vocoder") / "spectral.safetensors"
    save_generator(path, generator)
    return path


@pytest.mark.parametrize("name", GENERATORS)
def test_a_frame_becomes_a_hop(name):
    with torch.inference_mode():
        assert GENERATORS[name]()(torch.randn(2, MELS, 9)).shape == (2, 9 * HOP)


@pytest.mark.parametrize("name", GENERATORS)
def test_every_weight_learns(name):
    torch.manual_seed(0)
    generator, judges = GENERATORS[name](), Discriminators()
    real = 0.05 * torch.randn(2, 20 * HOP)
    made = generator(log_mel(real))
    (spectral_distance(made, real) + judges.generator_loss(made, real)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())
    judges.zero_grad()
    judges.loss(made, real).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judges.parameters())


def test_the_same_audio_has_no_distance():
    audio = torch.randn(1, 20 * HOP)
    assert spectral_distance(audio, audio).item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(spectral_distance(audio, torch.zeros_like(audio)))


def test_training_lowers_the_distance(speech, monkeypatch):
    monkeypatch.setattr(training, "_ALONE", 2.0)  # never against discriminators: they take their time
    config = VocoderConfig(steps=40, batch_size=2, lr=1e-3)
    first = train_vocoder("spectral", speech, VocoderConfig(steps=1, batch_size=2), "cpu")[1]
    assert train_vocoder("spectral", speech, config, "cpu")[1] < 0.8 * first


def test_a_training_that_went_astray_is_an_error(speech):
    broken = [np.full(16_000, np.nan, np.float32)]
    with pytest.raises(AsvtkError, match="vocoder spectral: its weights are not finite after 1 steps"):
        train_vocoder("spectral", broken, VocoderConfig(steps=1, batch_size=1), "cpu")


@pytest.mark.parametrize("method", ["neural_spectral", "neural_spectral_smooth"])
def test_copies_are_as_long_and_loud(method, spectral, speech):
    audio = speech[0][:12_345]
    made = NEURAL[method].function(str(spectral))(audio, 16_000, np.random.default_rng(0))
    assert made.shape == audio.shape and made.dtype == audio.dtype
    assert np.sqrt(np.mean(made**2)) == pytest.approx(np.sqrt(np.mean(audio**2)), rel=1e-3)
    assert np.abs(made - audio).max() > 1e-3


def test_weights_of_another_vocoder_are_refused(spectral, tmp_path):
    with pytest.raises(AsvtkError, match="spectral.safetensors: no weights of this vocoder"):
        load_generator(spectral, GENERATORS["upsampling"]())
    with pytest.raises(AsvtkError, match="asvtk resynth train makes them"):
        load_generator(tmp_path / "missing.safetensors", GENERATORS["spectral"]())
