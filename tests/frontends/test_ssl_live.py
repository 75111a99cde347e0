"""The SSL front-end below and above its cut: the numbers of stage 2, the gradients of transformers."""

import numpy as np
import pytest
import torch
import transformers
from tiny_models import LARGE, save_model

from asvtk.frontends.base import Crop
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.ssl.frontend import Ssl, SslConfig
from asvtk.io.config import build
from asvtk.io.errors import AsvtkError

SIZES = (9000, 5000, 8000)
RNG = np.random.default_rng(0)
BATCH = [(0.1 * RNG.normal(size=size) + 0.05).astype(np.float32) for size in SIZES]


def given(ssl, batch=BATCH):
    """Prepared audio and its lengths, as a data loader gives them."""
    prepared = [torch.from_numpy(ssl.prepare(audio)) for audio in batch]
    padded = torch.nn.utils.rnn.pad_sequence(prepared, batch_first=True)
    return padded, torch.tensor([len(audio) for audio in prepared])


def cached(ssl):
    """What stage 2 stores, as a data loader gives it."""
    found = Extractor(ssl)([ssl.prepare(audio) for audio in BATCH], ssl.stored)
    matrices = [torch.from_numpy(np.stack([of[layer] for layer in ssl.stored], axis=1)) for of in found]
    padded = torch.nn.utils.rnn.pad_sequence(matrices, batch_first=True)
    return padded.transpose(1, 2), torch.tensor([len(matrix) for matrix in matrices])


@pytest.mark.parametrize("architecture", ["WavLM", "Wav2Vec2", "Hubert"])
@pytest.mark.parametrize("large", [True, False], ids=["large", "base"])
@pytest.mark.parametrize("crop", [Crop(9000), Crop(None)], ids=["fixed", "ragged"])
def test_live_and_split_give_what_stage_2_gives(tmp_path, architecture, large, crop):
    name = save_model(tmp_path / "m", architecture, **(LARGE if large else {}))
    stage_2 = Ssl(SslConfig(name, crop=crop))
    frozen = Ssl(SslConfig(name, crop=crop, cache=False)).load()
    expected = Extractor(stage_2)([stage_2.prepare(audio) for audio in BATCH], stage_2.layers)
    found = {"frozen": frozen(*given(frozen))}
    for cache in (False, True):
        ssl = Ssl(SslConfig(name, crop=crop, cache=cache, trainable=2)).load(lower=not cache).train()
        found[cache] = ssl.from_cut(*cached(ssl)) if cache else ssl(*given(ssl))
    for features, lengths in found.values():
        for row, (utterance, length) in enumerate(zip(expected, lengths.tolist(), strict=True)):
            for layer in stage_2.layers:
                assert utterance[layer].shape[0] == length
                ours = features[row, layer, :length].detach().numpy()
                np.testing.assert_allclose(ours, utterance[layer], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("architecture", ["WavLM", "Wav2Vec2", "Hubert"])
@pytest.mark.parametrize("large", [True, False], ids=["large", "base"])
def test_gradients_are_those_of_transformers(tmp_path, architecture, large):
    name = save_model(tmp_path / "m", architecture, **(LARGE if large else {}))
    ssl = Ssl(SslConfig(name, crop=Crop(9000), cache=False, trainable=2))
    part = ssl.load()
    batch, lengths = given(ssl)
    weights = torch.randn(4, 28, 32, generator=torch.Generator().manual_seed(0))
    weights[:, 27] = 0
    features, frames = part(batch, lengths)
    weights = weights[:, : features.shape[2]]
    assert frames.tolist() == [features.shape[2]] * 3
    (features * weights).sum().backward()
    model = transformers.AutoModel.from_pretrained(name).eval()
    output = model(batch, output_hidden_states=True)
    states = torch.stack([*output.hidden_states[:-1], output.last_hidden_state], dim=1)
    (states * weights).sum().backward()
    blocks = {name: x.grad for name, x in model.encoder.named_parameters()}
    compared = set()
    for name, parameter in part.named_parameters():
        _, _, *rest = name.split(".")
        if rest[0].isdecimal():
            where = f"layers.{int(rest[0]) - 1}."
            leaf = ".".join(rest[1:])
            outer = "layer_norm" if large else "final_layer_norm"
            inner = "final_layer_norm" if large else "layer_norm"
            leaf = leaf.replace("outer_norm", outer).replace("inner_norm", inner)
            names = [where + middle + leaf for middle in ("", "attention.", "feed_forward.")]
            (match,) = [n for n in names if n in blocks]
        else:
            match = "layer_norm." + rest[-1]
        compared.add(match)
        torch.testing.assert_close(parameter.grad, blocks[match], rtol=1e-3, atol=1e-4)
    top = {n for n in blocks if n.startswith(("layers.1.", "layers.2.")) and "rel_attn_embed" not in n}
    assert compared == top | ({"layer_norm.weight", "layer_norm.bias"} if large else set())


def test_only_what_is_trained_is_part_of_the_module(tmp_path):
    name = save_model(tmp_path / "m", **LARGE, layerdrop=0.9, mask_time_prob=0.9, hidden_dropout=0.9)
    ssl = Ssl(SslConfig(name, layers=(0, 3), crop=Crop(9000), cache=False, trainable=1))
    part = ssl.load().train()
    prefixes = ("top.blocks.3.", "top.outer_norm.")
    assert all(key.startswith(prefixes) for key in dict(part.named_parameters()))
    assert set(part.state_dict()) == {*dict(part.named_parameters()), "top._extra_state"}
    first, second = (part(*given(ssl))[0] for _ in range(2))
    assert torch.equal(first, second) and first.shape[1] == 2
    part.to("meta")
    assert {x.device.type for x in part._encoder[0].parameters()} == {"meta"}


def test_blocks_are_unfrozen_from_the_top(tmp_path):
    name = save_model(tmp_path / "m", **LARGE)
    part = Ssl(SslConfig(name, cache=False, trainable=3)).load()
    for count, expected in ((0, set()), (1, {"3"}), (3, {"1", "2", "3"})):
        part.train_top(count)
        trained = {n.split(".")[2] for n, x in part.named_parameters() if x.requires_grad and "blocks" in n}
        assert trained == expected
        assert part.top.outer_norm.weight.requires_grad == bool(count)


def test_dev_in_inference_mode_leaves_training_its_gradients(tmp_path):
    ssl = Ssl(SslConfig(save_model(tmp_path / "m", **LARGE), cache=False, trainable=1, crop=Crop(9000)))
    part = ssl.load()
    with torch.inference_mode():
        part(*given(ssl))
    part(*given(ssl))[0].sum().backward()


def test_frozen_part_keeps_its_precision_under_autocast(tmp_path):
    ssl = Ssl(SslConfig(save_model(tmp_path / "m", **LARGE), cache=False, trainable=1, crop=Crop(9000)))
    part = ssl.load()
    exact = part(*given(ssl))[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = part(*given(ssl))[0]
    assert rounded.dtype == torch.float32
    assert torch.equal(exact[:, :3], rounded[:, :3])
    assert 1e-5 < (exact - rounded)[:, 3].norm() / exact[:, 3].norm() < 0.02


def test_layers_of_stage_2(tmp_path):
    name = save_model(tmp_path / "m", **LARGE)

    def layers(**options):
        return Ssl(SslConfig(name, **options)).stored

    assert layers(cache=False, trainable=1) == ()
    assert layers(trainable=1) == (0, 1, 2)
    assert layers(trainable=1, layers=(0, 3)) == (0, 2)
    assert layers(trainable=1, layers=(0, 2)) == (0, 1)  # counted from the deepest
    assert Ssl(SslConfig(name)).describe() == Ssl(SslConfig(name, trainable=1)).describe()


@pytest.mark.parametrize(
    "content, message",
    [
        ({"trainable": -1}, "trainable must not be negative"),
        ({"random_crop": True}, "random_crop: .* set cache to false"),
        ({"cache": "often"}, "frontend.cache: 'often' does not fit; expected true or false"),
    ],
)
def test_what_cannot_be_is_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(SslConfig, {"model": "m"} | content, "frontend")


def test_more_trainable_blocks_than_there_are_is_refused(tmp_path):
    config = SslConfig(save_model(tmp_path / "m"), layers=(0, 2), cache=False, trainable=3)
    with pytest.raises(AsvtkError, match="frontend.trainable: 3 blocks, .* is 2: no more blocks"):
        Ssl(config)


def test_state_on_another_base_model_is_refused(tmp_path):
    parts = [
        Ssl(SslConfig(save_model(tmp_path / str(width), intermediate_size=width), trainable=1)).load()
        for width in (64, 32)
    ]
    parts[0].load_state_dict(parts[0].state_dict())
    with pytest.raises(RuntimeError, match="another base model"):
        parts[0].load_state_dict(parts[1].state_dict())
