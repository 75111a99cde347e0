"""Neural vocoders: shapes, training that lowers its losses, weights and their faults, copies of clips."""

from functools import partial

import numpy as np
import pytest
import torch
from tiny_vocoders import shrink_vocoders

from asvtk.augment.neural import training
from asvtk.augment.neural.config import VocoderConfig
from asvtk.augment.neural.discriminators import Discriminators
from asvtk.augment.neural.flow import FlowGenerator
from asvtk.augment.neural.generators import GENERATORS
from asvtk.augment.neural.spectra import HOP, MELS, istft, log_mel, spectral_distance, stft
from asvtk.augment.neural.training import train_vocoder
from asvtk.augment.neural.weights import load_generator, save_generator
from asvtk.augment.resynthesis import NEURAL
from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError


@pytest.fixture(scope="module")
def speech():
    rng = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    return [
        (0.1 * np.sin(2 * np.pi * f * time) + 0.01 * rng.standard_normal(16_000)).astype(np.float32)
        for f in (150, 220)
    ]


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        shrink_vocoders(patch)
        yield


@pytest.fixture(scope="module")
def spectral(speech, tmp_path_factory):
    """A barely trained generator's weights."""
    generators, distance = train_vocoder("spectral", speech, VocoderConfig(steps=3, batch_size=2), "cpu", [2])
    assert np.isfinite(distance) and list(generators) == [2, None]
    assert not any(generator.training for generator in generators.values())
    folder = tmp_path_factory.mktemp("vocoder")
    save_generator(folder / "young.safetensors", generators[2])
    save_generator(folder / "spectral.safetensors", generators[None])
    return folder / "spectral.safetensors"


@pytest.fixture
def small_flow(monkeypatch):
    monkeypatch.setitem(GENERATORS, "flow", partial(FlowGenerator, width=32, blocks=1))


def noise(*shape):
    return 0.05 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", GENERATORS)
def test_a_copy_is_as_long(name, small_flow):
    with torch.inference_mode():
        copy = GENERATORS[name]().copy(noise(2, 9 * HOP), np.random.default_rng(0))
    assert copy.shape == (2, 9 * HOP) and torch.isfinite(copy).all()


@pytest.mark.parametrize("name", ["spectral", "upsampling"])
def test_a_frame_becomes_a_hop(name):
    with torch.inference_mode():
        assert GENERATORS[name]()(torch.randn(2, MELS, 9)).shape == (2, 9 * HOP)


@pytest.mark.parametrize("name", ["spectral", "upsampling", "harmonic"])
def test_every_weight_learns(name, speech):
    torch.manual_seed(0)
    generator, judges = GENERATORS[name](), Discriminators()
    real = torch.from_numpy(np.stack(speech)[:, : 20 * HOP])
    made = generator.render(log_mel(real), real)
    (spectral_distance(made, real) + judges.generator_loss(made, real)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())
    judges.zero_grad()
    judges.loss(made, real).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judges.parameters())


def test_every_weight_of_the_flow_learns():
    generator = FlowGenerator(width=32, blocks=2)
    generator.loss(noise(2, 20 * HOP)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_spectra_lead_back_to_the_audio():
    audio = noise(2, 20 * HOP)
    torch.testing.assert_close(istft(stft(audio, 800, HOP, 800), HOP), audio, rtol=0, atol=1e-6)


def test_the_same_audio_has_no_distance():
    audio = torch.randn(1, 20 * HOP)
    assert spectral_distance(audio, audio).item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(spectral_distance(audio, torch.zeros_like(audio)))


def test_training_lowers_the_distance(speech, monkeypatch):
    monkeypatch.setattr(training, "_ALONE", 2.0)  # never against discriminators: they take their time
    config = VocoderConfig(steps=40, batch_size=2, lr=1e-3)
    first = train_vocoder("spectral", speech, VocoderConfig(steps=1, batch_size=2), "cpu")[1]
    assert train_vocoder("spectral", speech, config, "cpu")[1] < 0.8 * first


def flow_loss(generator, speech):
    torch.manual_seed(0)
    with torch.no_grad():
        return generator.loss(torch.from_numpy(np.stack(speech)).repeat(4, 1)).item()


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))],
)
def test_training_lowers_the_loss_of_the_flow(device, speech, small_flow):
    config = VocoderConfig(steps=20, batch_size=2, lr=3e-3)
    ages, last = train_vocoder("flow", speech, config, device, [1])
    young, trained = ages[1], ages[None]
    assert np.isfinite(last) and not trained.training
    assert flow_loss(trained, speech) < 0.9 * flow_loss(young, speech)
    torch.manual_seed(0)
    assert flow_loss(trained, speech) < 0.9 * flow_loss(GENERATORS["flow"](), speech)


@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_whitened_audio_has_the_power_of_the_noise(offset):
    generator, white = FlowGenerator(width=8, blocks=1), noise(8, 80 * HOP)
    coloured = torch.nn.functional.pad(white, (1, 0)).diff() + offset
    made = generator._whiten(coloured, log_mel(coloured)), generator._noise(white / 0.05)
    speech, unit = (x.unflatten(1, (2, -1)).square().sum(1).mean((0, 2)) for x in made)
    assert unit.mean() == pytest.approx(1, abs=0.05)
    assert speech[10:].min() > 0.7 and speech[10:].max() < 1.5
    assert speech[:10].max() < 6  # where an offset is, which hides its neighbours


def test_a_network_that_adds_nothing_has_the_best_loss_of_gaussian_data():
    torch.manual_seed(0)
    generator = FlowGenerator(width=8, blocks=1)
    for parameter in generator.head.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        loss = generator.loss(noise(256, 20 * HOP)).item()
    # Each part has variance 1/2, and the error at time t is 1 / (2 t^2 + 2 (1 - t)^2); its mean is pi / 4.
    assert loss == pytest.approx(np.pi / 4, rel=0.15)


@pytest.mark.parametrize("steps, begin", [(1, 0.0), (5, 0.0), (3, 0.6)])
def test_the_true_velocity_leads_to_the_speech(steps, begin, monkeypatch):
    generator, audio = FlowGenerator(width=8, blocks=1), noise(1, 20 * HOP)
    speech = generator._whiten(audio, log_mel(audio))
    monkeypatch.setattr(generator, "forward", lambda at, mel, time: (speech - at) / (1 - time.view(-1, 1, 1)))
    copy = generator.copy(audio, np.random.default_rng(0), steps=steps, begin=begin)
    torch.testing.assert_close(copy, audio, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_later_a_flow_begins_the_more_is_left_of_the_speech():
    torch.manual_seed(0)
    generator, audio = FlowGenerator(width=8, blocks=1), noise(1, 40 * HOP)
    differences = [
        (generator.copy(audio, np.random.default_rng(0), steps=4, begin=begin) - audio).norm() / audio.norm()
        for begin in (0.0, 0.3, 0.6, 0.999)
    ]
    assert differences == sorted(differences, reverse=True) and differences[-1] < 0.01 < 0.3 < differences[0]


def test_copies_of_a_flow_are_a_function_of_the_seed(tmp_path, small_flow, speech):
    torch.manual_seed(0)
    generator = GENERATORS["flow"]()
    save_generator(tmp_path / "flow.safetensors", generator)
    write_text(tmp_path / "text", "of other files of ours")
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1  # others may read both
    again = load_generator(tmp_path / "flow.safetensors", GENERATORS["flow"]())
    audio = torch.from_numpy(speech[0]).unsqueeze(0)
    with torch.inference_mode():
        one, same, other = (
            model.copy(audio, np.random.default_rng(seed), steps=2)
            for model, seed in ((generator, 1), (again, 1), (generator, 2))
        )
    assert torch.equal(one, same) and (one - other).abs().max() > 1e-3


def test_a_training_that_went_astray_is_an_error(speech):
    broken = [np.full(16_000, np.nan, np.float32)]
    with pytest.raises(AsvtkError, match="vocoder spectral: its weights are not finite after 1 steps"):
        train_vocoder("spectral", broken, VocoderConfig(steps=1, batch_size=1), "cpu")


@pytest.mark.parametrize("method", ["neural_spectral", "neural_spectral_smooth"])
def test_copies_are_as_long_and_loud(method, spectral, speech):
    check_copy(method, spectral, speech[0][:12_345])


def test_keeping_a_vocoder_changes_nothing_of_its_training(speech):
    config = VocoderConfig(steps=2, batch_size=1)
    ends = [train_vocoder("harmonic", speech, config, "cpu", keep)[0][None] for keep in ((), (1,))]
    for one, other in zip(*(end.state_dict().values() for end in ends), strict=True):
        assert torch.equal(one, other)


def test_a_young_vocoder_makes_another_copy(spectral, speech):
    young = NEURAL["neural_spectral"].function(str(spectral.with_name("young.safetensors")))
    old = NEURAL["neural_spectral"].function(str(spectral))
    made = [function(speech[0], 16_000, np.random.default_rng(0)) for function in (young, old)]
    assert np.abs(made[0] - made[1]).max() > 1e-3


@pytest.mark.parametrize("method", ["neural_harmonic", "neural_harmonic_smooth"])
def test_copies_of_harmonics_are_as_long_and_loud(method, tmp_path, speech):
    torch.manual_seed(0)
    save_generator(tmp_path / "harmonic.safetensors", GENERATORS["harmonic"]())
    check_copy(method, tmp_path / "harmonic.safetensors", speech[0][:12_345])


@pytest.mark.parametrize("method", ["neural_flow", "neural_flow_part3", "neural_flow_part6"])
def test_copies_of_a_flow_are_as_long_and_loud(method, tmp_path, small_flow, speech):
    save_generator(tmp_path / "flow.safetensors", GENERATORS["flow"]())
    check_copy(method, tmp_path / "flow.safetensors", speech[0][:12_345])


def check_copy(method, weights, audio):
    function = NEURAL[method].function(str(weights))
    made = function(audio, 16_000, np.random.default_rng(0))
    assert made.shape == audio.shape and made.dtype == audio.dtype
    assert np.sqrt(np.mean(made**2)) == pytest.approx(np.sqrt(np.mean(audio**2)), rel=1e-3)
    assert np.abs(made - audio).max() > 1e-3
    assert np.array_equal(made, function(audio, 16_000, np.random.default_rng(0)))


def test_weights_of_another_vocoder_are_refused(spectral, tmp_path):
    with pytest.raises(AsvtkError, match="spectral.safetensors: no weights of this vocoder"):
        load_generator(spectral, GENERATORS["upsampling"]())
    with pytest.raises(AsvtkError, match="asvtk resynth train makes them"):
        load_generator(tmp_path / "missing.safetensors", GENERATORS["spectral"]())
