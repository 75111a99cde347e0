"""SSL front-ends on randomly initialised models that save_pretrained() wrote."""

import json

import numpy as np
import pytest
import torch
import transformers
from tiny_models import LARGE, save_model

from asvtk.frontends.base import Crop
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.cache.store import cache_name
from asvtk.frontends.ssl.frontend import Ssl, SslConfig
from asvtk.io.errors import AsvtkError

AUDIO = (0.1 * np.random.default_rng(0).normal(size=9000) + 0.05).astype(np.float32)


@pytest.mark.parametrize("architecture", ["WavLM", "Wav2Vec2", "Hubert"])
@pytest.mark.parametrize("large", [True, False], ids=["large", "base"])
def test_layers_are_the_hidden_states_of_transformers(tmp_path, architecture, large):
    name = save_model(tmp_path / "m", architecture, **(LARGE if large else {}))
    ssl = Ssl(SslConfig(name, crop=Crop(None)))
    assert ssl.layers == (0, 1, 2, 3)
    (found,) = Extractor(ssl)([ssl.prepare(AUDIO)], ssl.layers)
    audio = (AUDIO - AUDIO.mean()) / np.sqrt(AUDIO.var() + 1e-7) if large else AUDIO
    model = transformers.AutoModel.from_pretrained(name).eval()
    with torch.no_grad():
        output = model(torch.from_numpy(audio)[None], output_hidden_states=True)
    for layer, state in enumerate([*output.hidden_states[:-1], output.last_hidden_state]):
        np.testing.assert_allclose(found[layer], state[0].numpy(), rtol=1e-4, atol=1e-5)


def test_preprocessor_config_overrules_the_guess_of_normalisation(tmp_path):
    name = save_model(tmp_path / "m", **LARGE)
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    np.testing.assert_array_equal(Ssl(SslConfig(name, crop=Crop(None))).prepare(AUDIO), AUDIO)


@pytest.mark.parametrize("normalise", [True, False])
def test_fault_6_normalisation_as_a_processor_of_transformers_5_says(tmp_path, normalise, capsys):
    name = save_model(tmp_path / "m", **({} if normalise else LARGE))  # whose encoder says the opposite
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "<unk>": 1, "|": 2, "<s>": 3, "</s>": 4}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(name)
    if not (tmp_path / "m" / "processor_config.json").exists():
        pytest.skip("transformers 4 writes preprocessor_config.json")
    assert not (tmp_path / "m" / "preprocessor_config.json").exists()
    prepared = Ssl(SslConfig(name, crop=Crop(None))).prepare(AUDIO)
    expected = (AUDIO - AUDIO.mean()) / np.sqrt(AUDIO.var() + 1e-7) if normalise else AUDIO
    np.testing.assert_allclose(prepared, expected, rtol=1e-5, atol=1e-6)
    assert "warning" not in capsys.readouterr().err


def test_fault_6_without_a_preprocessor_the_guess_is_said_once(tmp_path, capsys):
    name = save_model(tmp_path / "m", **LARGE)
    for _ in range(2):
        Ssl(SslConfig(name))
    assert capsys.readouterr().err.count("taken to be yes, as its feature encoder is layer-normalised") == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden_size": 10**9}, "hidden_size is 1000000000, expected 1 to 65536"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"hidden_size": "32"}, "expected a whole number as 'hidden_size'"),
        ({"conv_stride": [0] * 7}, "conv_kernel and conv_stride"),
        ({"intermediate_size": 10**8}, "describes a larger system than these weights"),
    ],
)
def test_fault_17_absurd_sizes_in_config_json_are_refused(tmp_path, change, message):
    name = save_model(tmp_path / "m", **LARGE)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(AsvtkError, match=message):
        Extractor(Ssl(SslConfig(name)))([AUDIO], (1,))


def test_fault_24_the_fingerprint_covers_weights_and_not_the_folder(tmp_path):
    names = [save_model(tmp_path / folder / "m", **LARGE) for folder in "ab"] + [
        save_model(tmp_path / "other", **LARGE)
    ]
    same = [cache_name(Ssl(SslConfig(name))) for name in names]
    assert len(set(same)) == 1 and same[0].startswith("wavlm-3x32-")
    model = transformers.AutoModel.from_pretrained(names[1])
    model.encoder.layers[0].attention.q_proj.bias.data += 1
    model.save_pretrained(names[1])
    assert cache_name(Ssl(SslConfig(names[1]))) != same[0]


def test_normalisation_looks_at_real_samples_only(tmp_path):
    ssl = Ssl(SslConfig(save_model(tmp_path / "m", **LARGE), crop=Crop(20000)))
    prepared = ssl.prepare(AUDIO)
    assert len(prepared) == 20000
    np.testing.assert_allclose(prepared[:9000].mean(), 0, atol=1e-5)
    np.testing.assert_array_equal(prepared[9000:18000], prepared[:9000])


def test_normalisation_can_be_switched_and_is_part_of_the_fingerprint(tmp_path):
    name = save_model(tmp_path / "m", **LARGE)  # pretrained on normalised audio
    usual, on, off = (Ssl(SslConfig(name, normalise=value, crop=Crop(9000))) for value in (None, True, False))
    np.testing.assert_array_equal(off.prepare(AUDIO), AUDIO)
    np.testing.assert_array_equal(on.prepare(AUDIO), usual.prepare(AUDIO))
    assert cache_name(on) == cache_name(usual) != cache_name(off)


def test_what_an_utterance_gets_does_not_depend_on_its_company(tmp_path):
    ssl = Ssl(SslConfig(save_model(tmp_path / "m", **LARGE)))
    batch = list(np.random.default_rng(0).normal(size=(3, 9000)).astype(np.float32))
    together, alone = Extractor(ssl)(batch, (3,))[1][3], Extractor(ssl)(batch[1:2], (3,))[0][3]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["WavLM", "Wav2Vec2", "Hubert"])
@pytest.mark.parametrize("large", [True, False], ids=["large", "base"])
def test_nor_on_the_length_of_its_company(tmp_path, architecture, large):
    name = save_model(tmp_path / "m", architecture, **(LARGE if large else {}))
    ssl = Ssl(SslConfig(name, crop=Crop(None)))
    rng = np.random.default_rng(0)
    batch = [rng.normal(size=size).astype(np.float32) for size in (400, 5000, 9000)]
    together = Extractor(ssl)(batch, ssl.layers)
    for audio, found in zip(batch, together, strict=True):
        (alone,) = Extractor(ssl)([audio], ssl.layers)
        for layer in ssl.layers:
            assert found[layer].shape == alone[layer].shape == ssl.shape(len(audio))
            np.testing.assert_allclose(found[layer], alone[layer], rtol=1e-4, atol=1e-5)


def test_shortest_audio_gives_a_frame(tmp_path):
    ssl = Ssl(SslConfig(save_model(tmp_path / "m"), crop=Crop(None)))
    assert Extractor(ssl)([ssl.prepare(AUDIO[:10])], (3,))[0][3].shape == (1, 32) == ssl.shape(10)


def test_frozen_means_frozen(tmp_path):
    name = save_model(tmp_path / "m", **LARGE, layerdrop=0.9, mask_time_prob=0.9, hidden_dropout=0.9)
    ssl = Ssl(SslConfig(name))
    first = Extractor(ssl)([AUDIO], (3,))[0][3]
    ssl._encoder[0].train()
    np.testing.assert_array_equal(first, Extractor(ssl)([AUDIO], (3,))[0][3])
    assert not any(parameter.requires_grad for parameter in ssl._encoder[0].parameters())


def test_half_precision_is_near(tmp_path):
    name = save_model(tmp_path / "m", **LARGE)
    exact, rounded = (
        Extractor(Ssl(SslConfig(name, precision=precision)))([AUDIO], (0, 3))[0]
        for precision in ("float32", "bfloat16")
    )
    for layer in (0, 3):
        error = np.linalg.norm(rounded[layer] - exact[layer]) / np.linalg.norm(exact[layer])
        assert 1e-5 < error < 0.02


def test_layers_above_the_deepest_are_not_computed(tmp_path):
    name = save_model(tmp_path / "m", **LARGE)
    shallow, deep = Ssl(SslConfig(name, layers=(1,))), Ssl(SslConfig(name))
    np.testing.assert_array_equal(
        Extractor(shallow)([AUDIO], (1,))[0][1], Extractor(deep)([AUDIO], (1,))[0][1]
    )
    assert len(shallow._encoder[0].stack.blocks) == 1


def test_fingerprint_follows_weights_and_preprocessing_but_not_layers(tmp_path):
    name = save_model(tmp_path / "m", **LARGE)
    base = Ssl(SslConfig(name)).describe()
    assert Ssl(SslConfig(name, layers=(1, 3))).describe() == base
    assert Ssl(SslConfig(name, crop=Crop(None))).describe() != base
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert Ssl(SslConfig(name)).describe() != base
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"transformers_version": "0"}))
    assert Ssl(SslConfig(name)).describe() == base
    model = transformers.AutoModel.from_pretrained(name)
    model.encoder.layers[0].attention.q_proj.bias.data += 1
    model.save_pretrained(name)
    assert Ssl(SslConfig(name)).describe() != base


def test_layer_out_of_range_is_named(tmp_path):
    with pytest.raises(AsvtkError, match="layer 30 does not exist: .* has 3 layers"):
        Ssl(SslConfig(save_model(tmp_path / "m"), layers=(3, 30)))


def test_other_models_are_refused(tmp_path):
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "m")
    with pytest.raises(AsvtkError, match="is a 'bert' model; expected one of wavlm"):
        Ssl(SslConfig(str(tmp_path / "m")))


def test_weights_of_another_architecture_are_refused(tmp_path):
    save_model(tmp_path / "m", "Hubert", **LARGE)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config.update(model_type="wavlm", architectures=["WavLMModel"])
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    ssl = Ssl(SslConfig(str(tmp_path / "m")))
    with pytest.raises(AsvtkError, match="not those of the architecture"):
        Extractor(ssl)([AUDIO], (3,))


@pytest.mark.parametrize("name", ["./none", "/none/at/all"])
def test_missing_directory_is_named(name):
    with pytest.raises(AsvtkError, match="no such directory"):
        Ssl(SslConfig(name))


def test_directory_without_weights_is_named(tmp_path):
    save_model(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(AsvtkError, match="holds no weights"):
        Ssl(SslConfig(str(tmp_path / "m"))).describe()


def test_model_that_no_hub_gives_is_named(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AsvtkError, match="someone/no-such-model: neither a local directory"):
        Ssl(SslConfig("someone/no-such-model"))


def test_true_wavlm_large_shape(tmp_path):
    """microsoft/wavlm-large's config with random weights: 315 million parameters, 25 hidden states."""
    large = transformers.WavLMConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        num_buckets=320,
        max_bucket_distance=800,
        **LARGE,
    )
    torch.manual_seed(0)
    model = transformers.WavLMModel(large)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == 315.5
    model.save_pretrained(tmp_path / "wavlm-large")
    ssl = Ssl(SslConfig(str(tmp_path / "wavlm-large"), layers=(0, 12, 24)))
    prepared = ssl.prepare(AUDIO)
    (features,) = Extractor(ssl)([prepared], ssl.layers)
    with torch.no_grad():
        output = model.eval()(torch.from_numpy(prepared)[None], output_hidden_states=True)
    for layer, expected in zip(
        (0, 12, 24), [*output.hidden_states[:13:12], output.last_hidden_state], strict=True
    ):
        assert features[layer].shape == (201, 1024) == ssl.shape(len(AUDIO))
        error = np.linalg.norm(features[layer] - expected[0].numpy()) / np.linalg.norm(expected[0].numpy())
        assert error < 1e-5
