"""Training on a tiny corpus: it learns, it resumes bit for bit, it stops when it must."""

import json

import pytest
import torch
from tiny_corpus import write_tiny_corpus

from asvtk.corpora.asvspoof2019_la import prepare_split
from asvtk.frontends import build_frontend
from asvtk.frontends.cache import FeatureCache, cache_name
from asvtk.frontends.extraction import extract_missing
from asvtk.io.errors import AsvtkError
from asvtk.training import trainer
from asvtk.training.data import open_dataset
from asvtk.training.experiment import Experiment, load_config

CONFIG = """
frontend: {name: lfcc, crop: {samples: null}}
model: {name: moe_mamba, stack: 4, d_model: 16, blocks: 1, d_state: 4, d_expert: 16, d_embedding: 8}
loss: {name: oc_softmax}
training: {epochs: 4, batch_size: 4, lr: 3.0e-3}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    la = write_tiny_corpus(folder)
    (folder / "c.yaml").write_text(CONFIG)
    config = load_config(folder / "c.yaml")
    data = {}
    for split in ("train", "dev"):
        data[split] = prepare_split(la, split, folder / "data" / split)
        frontend = build_frontend(config.frontend)
        cache = FeatureCache(folder / "dump", cache_name(frontend), split)
        cache.claim(data[split], frontend)
        extract_missing(cache, frontend, data[split], 1, 1)
        cache.join(data[split], frontend.layers)
    return folder, data


@pytest.fixture
def run(corpus):
    folder, data = corpus

    def train(exp, *overrides):
        config = load_config(folder / "c.yaml", list(overrides))
        cache = cache_name(build_frontend(config.frontend))
        sets = [
            open_dataset(data[split], folder / "dump", cache, (0,), config.frontend)
            for split in ("train", "dev")
        ]
        return trainer.train(Experiment(exp), config, *sets, "cpu")

    return train


def content(exp, name="last"):
    return (exp / "checkpoints" / f"{name}.safetensors").read_bytes()


def test_tones_and_noise_are_told_apart(run, tmp_path):
    progress = run(tmp_path)
    assert progress["epoch"] == 4 and progress["best_dev_eer"] == 0
    records = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert records[-1]["loss"] < records[0]["loss"]


def test_same_seed_same_weights_and_other_seed_other_weights(run, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, f"seed={seed}")
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


@pytest.mark.parametrize("killed_after", [1, 3])
def test_resumed_run_ends_with_the_same_bits(run, tmp_path, killed_after, monkeypatch):
    run(tmp_path / "undisturbed")
    train_epoch = trainer._train_epoch

    def killed(detector, optimiser, training_set, config, epoch, device):
        loss = train_epoch(detector, optimiser, training_set, config, epoch, device)
        if epoch > killed_after:
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(trainer, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    monkeypatch.undo()
    run(tmp_path / "killed")
    for name in ("last", "best"):
        assert content(tmp_path / "killed", name) == content(tmp_path / "undisturbed", name)
    assert len((tmp_path / "killed" / "train.jsonl").read_text().splitlines()) == 4


def test_loss_that_is_not_finite_names_the_utterances_and_keeps_the_checkpoint(run, tmp_path, monkeypatch):
    from asvtk.models.base import Detector

    forward, calls = Detector.forward, []

    def poisoned(self, *batch):
        calls.append(None)
        return forward(self, *batch) * (torch.nan if len(calls) == 5 else 1)

    monkeypatch.setattr(Detector, "forward", poisoned)
    with pytest.raises(AsvtkError, match=r"epoch 2, batch 2: loss nan, .*utterances LA_T_\d+ LA_T_\d+ "):
        run(tmp_path)
    monkeypatch.undo()
    assert run(tmp_path)["epoch"] == 4


def test_gradient_that_is_not_finite_never_reaches_a_checkpoint(run, tmp_path):
    from asvtk.nn.losses import OcSoftmax

    def poison(grad):
        calls.append(None)
        return grad * (torch.inf if len(calls) == 6 else 1)  # the last batch of epoch 2

    calls, initialise = [], OcSoftmax.__init__

    def poisoned(self, *arguments):
        initialise(self, *arguments)
        self.centre.register_hook(poison)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OcSoftmax, "__init__", poisoned)
        with pytest.raises(AsvtkError, match="epoch 2, batch 3: loss .*, norm of the gradient (inf|nan)"):
            run(tmp_path)
    assert run(tmp_path)["epoch"] == 4


def test_matrices_alone_are_decayed(run):
    from asvtk.models import build_detector
    from asvtk.models.moe_mamba import MoeMambaConfig
    from asvtk.nn.losses import OcSoftmaxConfig

    detector = build_detector(MoeMambaConfig(d_model=16, blocks=1), OcSoftmaxConfig(), 1, 4)
    decayed, spared = trainer._build_optimiser(detector, trainer.TrainingConfig()).param_groups
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    spared = {names[id(parameter)] for parameter in spared["params"]}
    assert {"loss.centre", "model.blocks.0.mixer.forwards.A_log", "model.blocks.0.mixer.forwards.D"} <= spared
    assert "model.projection.weight" not in spared


def test_learning_rate_rises_then_falls():
    settings = trainer.TrainingConfig(epochs=10, lr=1.0, lr_end=0.1, warmup_epochs=2)
    rates = [trainer._learning_rate(settings, epoch) for epoch in (0, 1, 2, 6, 10)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.55, 0.1])


def test_no_features_says_stage_2(run, corpus, tmp_path):
    with pytest.raises(AsvtkError, match="there are no features .* run stage 2 first"):
        run(tmp_path, "frontend.preemphasis=0.5")
