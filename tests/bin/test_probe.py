"""asvtk probe on a small cache: tables of all layers, pooled once, and what it refuses."""

import json

import numpy as np
import pytest
from tiny_corpus import prepare_split, write_tiny_corpus
from tiny_models import save_model

from asvtk.bin.main import main
from asvtk.frontends.cache.pooled import pooled_features
from asvtk.frontends.cache.store import FeatureCache
from asvtk.io.datadir import DataDirectory

SETS = ("train", "dev", "eval")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    la = write_tiny_corpus(folder)
    for split in SETS:
        prepare_split(la, split, folder / "data" / split)
    model = save_model(folder / "model")
    (folder / "c.yaml").write_text(
        f"frontend: {{name: ssl, model: {model}, crop: {{samples: 6000}}}}\n"
        "model: {name: moe_mamba, d_model: 16}\nloss: {name: oc_softmax}\n"
    )
    given = ["--config", str(folder / "c.yaml"), "--dump", str(folder / "dump")]
    sets = [str(folder / "data" / split) for split in SETS]
    for action in ("begin", "job", "join"):
        assert main(["extract", action, *given, "--data", *sets]) == 0
    return folder


def probe(lab, *options, test=("eval",)):
    data = lab / "data"
    words = ["--config", str(lab / "c.yaml"), "--dump", str(lab / "dump"), "--out", str(lab / "out")]
    words += ["--train-data", str(data / "train"), "--dev-data", str(data / "dev")]
    return main(["probe", *words, "--test-data", *(str(data / name) for name in test), *options])


def test_every_layer_of_every_set(lab, capsys):
    assert probe(lab, "--all", "--bootstrap", "20") == 0
    said = capsys.readouterr().out
    found = json.loads((lab / "out" / "probe.json").read_text())
    layers = [name for name in found["layers"] if name != "all"]
    assert found["sets"] == ["dev", "eval"] and len(layers) > 2 and list(found["layers"])[-1] == "all"
    for of in found["layers"].values():
        assert of["sets"]["eval"]["eer_percent"] <= 40  # tones against noise, by untrained layers
        assert set(of["sets"]["eval"]["per_attack"]) == {f"A{n:02d}" for n in range(7, 12)}
        assert len(of["sets"]["dev"]["intervals"]["eer_percent"]) == 2
    assert "| all " in said and "probe.html" in said
    page = (lab / "out" / "probe.html").read_text()
    assert "EER by layer" in page and "eval: which layer finds which attack" in page


def test_attention_over_the_frames_of_a_layer_and_of_two(lab, monkeypatch):
    monkeypatch.setattr("asvtk.training.attentive_probe._LEAST_STEPS", 50)
    assert probe(lab, "--layers", "1", "2", "--all", "--pooling", "attentive", "--bootstrap", "0") == 0
    page = (lab / "out" / "probe.md").read_text()
    assert "a mean over time with learned weights (attention) of each layer" in page
    assert "C, the inverse of the penalty, is 1." in page
    found = json.loads((lab / "out" / "probe.json").read_text())
    assert list(found["layers"]) == ["1", "2", "all"]
    assert all(of["sets"]["eval"]["eer_percent"] <= 40 for of in found["layers"].values())
    assert probe(lab, "--layers", "1", "--pooling", "attentive", "--choose", "dev") == 2


@pytest.mark.parametrize(
    "options, how",
    [
        (
            [],
            "is chosen by cross-validation within the training set whose folds share no speaker.",
        ),
        (["--choose", "dev"], "is chosen by the least EER on dev, whose own column it flatters."),
    ],
)
def test_the_page_says_what_chose_the_penalty(lab, options, how):
    assert probe(lab, "--layers", "1", "--bootstrap", "0", *options) == 0
    assert how in (lab / "out" / "probe.md").read_text()


def test_vectors_are_pooled_once_and_again_when_features_change(lab, capsys):
    assert probe(lab, "--layers", "1") == 0
    (cache,) = (lab / "dump").glob("wavlm-*")
    data = DataDirectory.read(lab / "data" / "dev")
    store = FeatureCache(lab / "dump", cache.name, "dev")
    path = store.layer_folder(1) / "pooled.npz"
    before = path.stat().st_mtime_ns
    features = store.open(data, [1])[data.utterances[2]][0]
    pooled = pooled_features(store, data, 1)
    assert path.stat().st_mtime_ns == before
    np.testing.assert_allclose(pooled[2], [features.mean(0), features.std(0)], rtol=1e-5, atol=1e-6)
    path.write_bytes(b"PK damaged")
    np.testing.assert_array_equal(pooled_features(store, data, 1), pooled)
    scp = store.layer_folder(1) / "feats.scp"
    scp.write_text("".join(reversed(scp.read_text().splitlines(keepends=True))))
    pooled_features(store, data, 1)
    assert path.stat().st_mtime_ns != before


@pytest.mark.parametrize(
    "options, message",
    [
        (["--layers", "99"], "there are no features of layer 99"),
        (["--group", "nothing"], "utt2nothing"),
        (["--override", "frontend.crop.samples=5000"], "there are no features; run stage 2 first"),
    ],
)
def test_what_is_not_there(lab, capsys, options, message):
    assert probe(lab, *options) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
