"""Training with a speech model inside: live from the audio, or split above cached layers."""

import shutil

import pytest
import tiny_training
import torch
from tiny_models import LARGE, save_model
from tiny_training import kill_at, open_sets

from asvtk.bin.main import main
from asvtk.frontends import build_frontend
from asvtk.io.errors import AsvtkError
from asvtk.models import build_detector
from asvtk.training.checkpoint import read_tensors
from asvtk.training.config import load_config

LIVE = ("frontend.cache=false", "frontend.trainable=2")
SPLIT = ("frontend.trainable=2",)
STAGES = ("training.unfreeze.2=1", "training.unfreeze.3=2", "training.rates={frontend: 1.0e-4}")
TWO_EPOCHS = ("training.epochs=2", "training.save_every=1")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """With all layers of a tiny WavLM cached, which a split front-end finds there."""
    torch.set_num_threads(1)  # threads of tiny products wait for each other
    folder = tmp_path_factory.mktemp("live")
    model = save_model(folder / "ssl", **LARGE, hidden_dropout=0.5, layerdrop=0.5)
    tiny_training.prepare(folder, f"{{name: ssl, model: {model}, crop: {{samples: 6000}}}}")
    return folder


@pytest.fixture
def run(corpus):
    return lambda exp, *overrides: tiny_training.run(corpus, exp, *overrides)


def detector_of(tensors):
    return {name: x for name, x in tensors.items() if name.startswith("detector.")}


def load(exp, name="best"):
    return read_tensors(exp / "checkpoints" / f"{name}.safetensors")[0]


@pytest.mark.parametrize("mode", [("frontend.cache=false",), LIVE, SPLIT], ids=["frozen", "live", "split"])
def test_frozen_it_trains_what_the_cache_trains(run, tmp_path, mode):
    settings = (*TWO_EPOCHS, "training.grad_clip=0")  # what is not moved has gradients all the same
    run(tmp_path / "cached", *settings)
    run(
        tmp_path / "other",
        *settings,
        *mode,
        *(("training.rates={frontend: 0}",) if "frontend.trainable=2" in mode else ()),
    )
    expected, found = load(tmp_path / "cached"), load(tmp_path / "other")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-3)


def test_live_and_split_train_alike(run, tmp_path):
    run(tmp_path / "live", *TWO_EPOCHS, *LIVE)
    run(tmp_path / "split", *TWO_EPOCHS, *SPLIT)
    live, split = load(tmp_path / "live"), load(tmp_path / "split")
    assert live.keys() == split.keys()
    for name, tensor in live.items():
        torch.testing.assert_close(split[name], tensor, rtol=1e-2, atol=1e-3)


# An epoch has 3 updates: killed before a block is unfrozen, with the first of them, and with both.
@pytest.mark.parametrize("killed_in", [2, 5, 8, 11])
@pytest.mark.parametrize("mode", [LIVE, SPLIT], ids=["live", "split"])
def test_killed_run_ends_with_the_same_bits(killed_run, killed_in, mode):
    more = ("frontend.random_crop=true", "augmentation.seed=3") if mode is LIVE else ()
    averages = ("training.ema=0.5", "training.average_best=2")
    killed_run(killed_in, *mode, *STAGES, *more, "training.save_every=1", *averages)


def test_blocks_are_trained_from_their_epoch_on_and_alone_stored(run, corpus, tmp_path, capsys, monkeypatch):
    config = load_config(corpus / "c.yaml", list(LIVE))
    detector = build_detector(config, build_frontend(config.frontend).load())
    before = {f"detector.{name}": x.clone() for name, x in detector.state_dict().items()}
    for update, expected in ((4, set()), (7, {"3"}), (None, {"2", "3"})):  # an epoch has 3 updates
        if update is None:
            run(tmp_path, *LIVE, *STAGES)
        else:
            kill_at(monkeypatch, update, run, tmp_path, *LIVE, *STAGES)
        tensors = load(tmp_path, "last")
        assert detector_of(tensors).keys() == before.keys()
        ours = {name: x for name, x in tensors.items() if name.startswith("detector.frontend.")}
        moved = {name.split(".")[4] for name, x in ours.items() if not torch.equal(x, before[name])}
        assert moved - {"weight", "bias"} == expected  # of the outer norm
        assert not any(".1." in name for name in ours)
        slots = {name.split(".")[1] for name in tensors if name.startswith("optimiser.")}
        trained = [n for n in before if n.startswith("detector.frontend.") and expected & set(n.split("."))]
        outer = 2 * bool(expected)
        assert len(slots) == len(list(detector.model.parameters())) + 1 + len(trained) + outer
    said = capsys.readouterr().out
    for epoch, blocks in ((1, 0), (2, 1), (3, 2)):
        assert f"epoch {epoch}: {blocks} of 2 trainable blocks are trained" in said


def test_features_of_a_live_system_are_those_of_the_cache(corpus):
    config = load_config(corpus / "c.yaml", ["frontend.cache=false"])
    train = open_sets(corpus, config)[0]
    detector = build_detector(config, train.frontend.load())
    train.serve(detector.model)
    cached = open_sets(corpus, load_config(corpus / "c.yaml"))[0]
    for live, stored in zip(train.sample(5), cached.sample(5), strict=True):
        torch.testing.assert_close(detector.features(live).x, stored.features, rtol=1e-4, atol=1e-4)


def test_every_epoch_augments_anew_and_crops_elsewhere(corpus):
    settings = ["frontend.cache=false", "augmentation.seed=1"]
    for more in ([], ["frontend.random_crop=true"]):
        train, dev = open_sets(corpus, load_config(corpus / "c.yaml", settings + more))
        one, again, two = (train.draw(5, seed)[0] for seed in (1, 1, 2))
        assert one.shape == (6000,) and torch.equal(one, again) and not torch.equal(one, two)
        assert torch.equal(dev.draw(5, None)[0], dev[5][0])
        _, audio, _ = train.draw(5, 1)  # systems that hear both hear the same window
        deviation = audio.std(correction=0)
        torch.testing.assert_close(one.flatten(), (audio - audio.mean()) / deviation, rtol=1e-3, atol=1e-4)


def test_bfloat16_trains_the_top_too(run, tmp_path, records):
    run(tmp_path, *LIVE, "training.precision=bfloat16", "training.rates={frontend: 1.0e-4}")
    log = records(tmp_path)
    assert log[-1]["loss"] < log[0]["loss"]
    assert {x.dtype for x in detector_of(load(tmp_path)).values()} == {torch.float32, torch.uint8}


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["frontend.cache=false", "augmentation.copies=2"], "augmentation.copies 2: frontend.cache is false"),
        (["training.unfreeze={1: 2}"], "ends with 2 blocks, and frontend.trainable is 0"),
        ([*LIVE, "training.unfreeze={1: 2, 3: 1}"], "later epochs must train more blocks"),
        ([*LIVE, "training.unfreeze={9: 2}"], "unfreeze: epoch 9 is beyond the last one"),
        ([*LIVE, "training.unfreeze=2"], "training.unfreeze: expected epochs, from 1"),
        ([*LIVE, "training.unfreeze={2:2}"], "expected epochs, .* found {122: None}"),  # YAML: 2 min 2 s
    ],
)
def test_what_cannot_be_is_refused(corpus, overrides, message):
    with pytest.raises(AsvtkError, match=message):
        load_config(corpus / "c.yaml", overrides)


def test_system_that_hears_audio_alone_is_refused(corpus):
    config = load_config(corpus / "c.yaml", ["frontend.cache=false", "model={name: aasist}"])
    with pytest.raises(AsvtkError, match="model aasist: hears audio alone"):
        build_detector(config)


@pytest.mark.parametrize("mode", [LIVE, SPLIT], ids=["live", "split"])
def test_verbs_from_features_to_analysis(corpus, tmp_path, mode, capsys):
    """With a second speech model, whose features no other test caches."""
    data, exp = corpus / "data", tmp_path / "exp"
    model = save_model(tmp_path / "ssl", **LARGE, intermediate_size=48)
    config = tmp_path / "c.yaml"
    config.write_text((corpus / "c.yaml").read_text().replace(str(corpus / "ssl"), model))
    given = ["--config", str(config), "--override", *mode, "training.epochs=1", "training.warmup_epochs=0"]
    dump = ["--dump", str(tmp_path / "dump")]
    for split in ("train", "dev"):
        for action in ("begin", "job", "join"):
            assert main(["extract", action, *given, "--data", str(data / split), *dump]) == 0
    layers = {path.name for path in (tmp_path / "dump").glob("*/*/layer_*")}
    assert layers == (set() if mode is LIVE else {"layer_00", "layer_01"})
    sets = ["--train-data", str(data / "train"), "--dev-data", str(data / "dev")]
    experiment = ["--exp", str(exp), *dump]
    assert main(["train", *given, *experiment, *sets]) == 0
    for verb in ("score", "analyse"):
        assert main([verb, *experiment, "--data", str(data / "dev")]) == 0
    assert len((exp / "scores" / "dev.txt").read_text().splitlines()) == 8
    assert (exp / "analysis" / "analysis.html").exists()
    capsys.readouterr()

    again = ["score", *experiment, "--data", str(data / "dev"), "--force"]
    shutil.move(model, tmp_path / "gone")
    assert main(again) == 1
    said = capsys.readouterr().err
    assert "its front-end is not to be had: " in said
    assert said.count("\n") == 1 and "no such directory" in said
    save_model(tmp_path / "ssl", **LARGE, intermediate_size=48, initializer_range=0.1)
    assert main(again) == 1
    said = capsys.readouterr().err
    assert "was trained on the features wavlm-3x32-" in said and "another model lies there" in said
    assert said.count("\n") == 1
