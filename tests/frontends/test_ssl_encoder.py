"""On a GPU, the encoder in half precision and its recording; the rest is tested through the front-end."""

import numpy as np
import pytest
import torch
import transformers
from tiny_models import LARGE, SMALL, save_model

from asvtk.frontends.base import Crop
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.ssl.encoder import SslEncoder
from asvtk.frontends.ssl.frontend import Ssl, SslConfig
from asvtk.io.ark import encode_matrix

WIDE = SMALL | dict(hidden_size=128, num_attention_heads=2, conv_dim=(64,) * 7)


@pytest.mark.parametrize("architecture", ["WavLM", "Hubert"])
def test_activations_other_than_gelu_are_kept(architecture):
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(
        **SMALL, **LARGE, hidden_act="relu", feat_extract_activation="gelu_new"
    )
    model = getattr(transformers, f"{architecture}Model")(config).eval()
    audio = torch.randn(2, 3000)
    with torch.no_grad():
        output = model(audio, output_hidden_states=True)
        found = SslEncoder(model)(audio)
    for ours, theirs in zip(found, [*output.hidden_states[:-1], output.last_hidden_state], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("architecture", ["WavLM", "Wav2Vec2", "Hubert"])
@pytest.mark.parametrize("large", [True, False], ids=["large", "base"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "float8"])
@pytest.mark.parametrize("crop", [Crop(9000), Crop(None)], ids=["fixed", "ragged"])
def test_gpu_gives_what_the_cpu_gives(tmp_path, architecture, large, precision, crop):
    name = save_model(tmp_path / "m", architecture, **WIDE, **(LARGE if large else {}))
    rng = np.random.default_rng(0)
    exact = Ssl(SslConfig(name, crop=crop))
    batch = [exact.prepare(rng.normal(size=size).astype(np.float32)) for size in (9000, 5000, 8000)]
    config = SslConfig(name, crop=crop, precision=precision)
    on_gpu = Extractor(Ssl(config), "cuda")
    waits = [on_gpu.start(batch, (0, 2, 3)) for _ in range(3)]  # a recording's output is used again
    limit = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 3e-2, "float8": 1.2e-1}[precision]
    for wait in waits:
        for found, expected in zip(wait(), Extractor(exact)(batch, (0, 2, 3)), strict=True):
            for layer in (0, 2, 3):
                ours = found[layer][1].view(np.float32).reshape(expected[layer].shape)
                error = np.linalg.norm(ours - expected[layer]) / np.linalg.norm(expected[layer])
                assert error < limit, layer


@pytest.mark.parametrize("architecture", ["WavLM", "Wav2Vec2", "Whisper"])
def test_products_in_8_bits(tmp_path, architecture):
    """A number has 4 bits, its rounding is 3 % of it: products are off by a few hundredths."""
    name = save_model(tmp_path / "m", architecture, **(LARGE if architecture != "Whisper" else {}))
    exact, rough = (Ssl(SslConfig(name, crop=Crop(9000), precision=p)) for p in ("float32", "float8"))
    batch = [exact.prepare(np.random.default_rng(0).normal(size=9000).astype(np.float32))]
    for layer, expected in Extractor(exact)(batch, exact.layers)[0].items():
        found = Extractor(rough)(batch, exact.layers)[0][layer]
        assert 1e-4 < np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.06, layer


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("storage", ["FM", "CM2", "CM"])
@pytest.mark.parametrize("crop", [Crop(9000), Crop(None)], ids=["fixed", "ragged"])
def test_encoded_features_are_the_features_encoded(tmp_path, device, storage, crop):
    name = save_model(tmp_path / "m", **SMALL, **LARGE)
    ssl = Ssl(SslConfig(name, crop=crop, storage=storage))
    rng = np.random.default_rng(0)
    sizes = (9000, 9100, 5000, 8000)  # the first two give as many frames
    batch = [ssl.prepare(rng.normal(size=size).astype(np.float32)) for size in sizes]
    extractor = Extractor(ssl, device)
    waits = [extractor.start(batch, (0, 3)) for _ in range(2)]
    for features, *encoded in zip(extractor(batch, (0, 3)), *(wait() for wait in waits), strict=True):
        for entries in encoded:
            assert {layer: b"".join(entries[layer]) for layer in entries} == {
                layer: encode_matrix(features[layer], storage) for layer in (0, 3)
            }


def test_features_that_are_not_finite_have_no_entry(tmp_path):
    ssl = Ssl(SslConfig(save_model(tmp_path / "m", **SMALL, **LARGE), crop=Crop(9000), storage="CM2"))
    good, bad = np.ones(9000, np.float32), np.full(9000, np.nan, np.float32)
    found = Extractor(ssl).start([good, bad], (1, 3))()
    assert found[0][1] is not None and found[1] == {1: None, 3: None}
