"""Truncated encoders: the whole model's states to the bit, here and in transformers."""

import hashlib
import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import LARGE, save_model

from asvtk.bin.main import main
from asvtk.frontends.base import Crop
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.cache.store import cache_name
from asvtk.frontends.ssl.frontend import Ssl, SslConfig
from asvtk.io.errors import AsvtkError

AUDIO = (0.1 * np.random.default_rng(0).normal(size=9600) + 0.05).astype(np.float32)
RAGGED = Crop(19_200, repeat=False)
KINDS = {
    "wavlm": ("WavLM", "Model", {}),
    "wavlm-large": ("WavLM", "Model", LARGE),
    "xls-r-ctc": ("Wav2Vec2", "ForCTC", LARGE | dict(vocab_size=64, pad_token_id=0)),
    "hubert": ("Hubert", "Model", {}),
    "unispeech-sat": ("UniSpeechSat", "Model", LARGE),
    "data2vec-audio": ("Data2VecAudio", "Model", {}),
    "w2v-bert-2.0": ("Wav2Vec2Bert", "Model", {}),
    "whisper": ("Whisper", "ForConditionalGeneration", {}),
    "whisper-classifier": ("Whisper", "ForAudioClassification", {}),
}


def front_end(folder, **options):
    return Ssl(SslConfig(str(folder), crop=RAGGED, **options))


def features(folder, **options):
    ssl = front_end(folder, **options)
    return Extractor(ssl)([ssl.prepare(AUDIO)], ssl.layers)[0]


def states_of_transformers(folder, kind):
    """Hidden states in front of the final norm, and the report on what the file lacked."""
    auto = transformers.AutoModelForAudioClassification if "whisper" in kind else transformers.AutoModel
    model, report = auto.from_pretrained(folder, output_loading_info=True)
    model = getattr(model, "encoder", model) if "whisper" in kind else model
    given = torch.from_numpy(AUDIO)[None]
    states = []

    def keep(_module, _given, output):
        states.append(output[0] if isinstance(output, tuple) else output)

    blocks = model.layers if "whisper" in kind else model.encoder.layers
    hooks = [block.register_forward_hook(keep) for block in blocks]
    if "whisper" in kind:
        given = torch.randn(1, 80, 120, generator=torch.Generator().manual_seed(0))
    elif kind == "w2v-bert-2.0":
        given = torch.randn(1, 29, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.eval()(given)
    for hook in hooks:
        hook.remove()
    return states, report


@pytest.fixture(scope="module", params=KINDS)
def cut(request, tmp_path_factory):
    """A whole model, and the folder of its first two blocks."""
    architecture, head, options = KINDS[request.param]
    folder = tmp_path_factory.mktemp("truncated")
    save_model(folder / "whole", architecture, head, **options)
    preprocessor = {"sampling_rate": 16000, "do_normalize": True}
    (folder / "whole" / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    assert main(["truncate", str(folder / "whole"), "--layers", "2", str(folder / "cut")]) == 0
    return request.param, folder / "whole", folder / "cut"


def test_states_are_those_of_the_whole_model_to_the_bit(cut):
    _, whole, short = cut
    expected, found = features(whole), features(short)
    assert list(found) == [0, 1, 2]
    for layer, state in found.items():
        np.testing.assert_array_equal(state, expected[layer])


def test_transformers_loads_it_with_the_same_states(cut):
    kind, whole, short = cut
    (expected, _), (found, report) = (states_of_transformers(folder, kind) for folder in (whole, short))
    assert len(expected) == 3 and len(found) == 2
    for ours, theirs in zip(found, expected[:2], strict=True):
        assert torch.equal(ours, theirs)
    heads = ("projector.", "classifier.")  # of the class that holds Whisper's encoder: there were none
    assert not [name for name in report["missing_keys"] if not name.startswith(heads)]


def test_only_what_is_needed_is_in_it(cut):
    _, _, short = cut
    names = list(load_file(short / "model.safetensors"))
    assert {name.split(".")[2] for name in names if name.startswith("encoder.layers.")} == {"0", "1"}
    others = ("lm_head", "model.", "decoder", "wav2vec2", "classifier")
    assert not [name for name in names if name.startswith(others)]
    assert (short / "preprocessor_config.json").exists()


def test_it_shares_caches_with_the_whole_model(cut):
    _, whole, short = cut
    assert cache_name(front_end(short)) == cache_name(front_end(whole))
    assert front_end(short).describe() == front_end(whole, layers=(1,)).describe()


def test_a_layer_that_was_cut_off_is_named(cut):
    _, _, short = cut
    message = "layer 3 does not exist: .* has 2 layers .*, as asvtk truncate cut it after 2 of 3 blocks"
    with pytest.raises(AsvtkError, match=message):
        front_end(short, layers=(1, 3))


@pytest.fixture
def large(tmp_path, capsys):
    save_model(tmp_path / "whole", **LARGE)
    assert main(["truncate", str(tmp_path / "whole"), "--layers", "2", str(tmp_path / "cut")]) == 0
    return tmp_path


def test_the_verb_says_what_it_wrote(large, capsys):
    sha = hashlib.sha256((large / "cut" / "model.safetensors").read_bytes()).hexdigest()
    assert f"2 of 3 blocks, 0.1 MB of 0.2, sha256 {sha}" in capsys.readouterr().out
    note = json.loads((large / "cut" / "config.json").read_text())["asvtk_truncated"]
    assert note["own"]["weights"] == {"model.safetensors": sha} and (note["layers"], note["of"]) == (2, 3)


def test_what_is_changed_afterwards_has_a_cache_of_its_own(large):
    model = transformers.AutoModel.from_pretrained(large / "cut")
    model.encoder.layers[0].attention.q_proj.bias.data += 1
    model.save_pretrained(large / "cut")
    assert cache_name(front_end(large / "cut")) != cache_name(front_end(large / "whole"))
    states = features(large / "cut"), features(large / "whole")
    assert not np.array_equal(states[0][1], states[1][1])
    assert abs(states[0][2].mean()) > 1e-4  # not behind the final norm, which centres each frame


def test_a_cut_model_may_be_cut_again_and_trained(large):
    assert main(["truncate", str(large / "cut"), "--layers", "1", str(large / "again")]) == 0
    expected, found = features(large / "whole"), features(large / "again")
    np.testing.assert_array_equal(found[1], expected[1])
    assert cache_name(front_end(large / "again")) == cache_name(front_end(large / "whole"))
    parts = [
        front_end(large / name, layers=(1, 2), trainable=1).load(lower=False) for name in ("cut", "whole")
    ]
    parts[0].load_state_dict(parts[1].state_dict())  # they stand on the same model
    assert parts[0].top.outer_norm is None


def test_all_blocks_keep_the_final_norm(large):
    assert main(["truncate", str(large / "whole"), "--layers", "3", str(large / "all")]) == 0
    np.testing.assert_array_equal(features(large / "all")[3], features(large / "whole")[3])


@pytest.mark.parametrize(
    "words, message",
    [
        (["whole", "--layers", "4", "new"], "--layers 4: .*whole has 3 layers (1 ... 3)"),
        (["cut", "--layers", "3", "new"], "--layers 3: .*cut has 2 layers"),
        (["whole", "--layers", "0", "new"], "--layers 0: "),
        (["whole", "--layers", "2", "cut"], "cut: is there already; name a folder that is new or empty"),
        (["none", "--layers", "2", "new"], "neither a local directory nor"),
    ],
)
def test_what_cannot_be_cut_is_one_line(large, words, message, monkeypatch, capsys):
    import re

    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(large)
    capsys.readouterr()
    assert main(["truncate", *words]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and re.search(message.replace("(", r"\(").replace(")", r"\)"), lines[0])
