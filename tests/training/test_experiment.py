"""Configurations of experiments, among them every one that a recipe ships."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asvtk.frontends import build_frontend
from asvtk.io.config import load_yaml, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.config import DetectorConfig
from asvtk.testing import detector_for
from asvtk.training.config import load_config
from asvtk.training.distributed import choose_device
from asvtk.training.experiment import Experiment

REPOSITORY = Path(__file__).parents[2]
INPUTS = {"features": "lfcc-0123", "layers": [0], "train data": "a", "dev data": "b"}
#: robustness.yaml is a grid of degradations, and no experiment
CONFIGS = sorted(p for p in REPOSITORY.glob("egs/*/conf/*.yaml") if p.name != "robustness.yaml")


def test_every_recipe_ships_configs():
    assert {path.parts[-3] for path in CONFIGS} == {"asvspoof2019_la", "asvspoof5", "cross_corpus", "mini"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_shipped_config_builds_a_detector_that_scores(path):
    config = load_config(path)
    if config.frontend.name == "lfcc":
        assert build_frontend(config.frontend).layers == (0,)
    layers, width = {"waveform": (0, 0), "lfcc": (1, 60)}.get(config.frontend.name, (3, 64))
    if isinstance(getattr(config.frontend, "layers", "all"), tuple):
        layers = len(config.frontend.layers)
    detector = detector_for(config.model, config.loss, layers, width).eval()
    frames = 50 if config.frontend.name == "lfcc" else 25  # every 10 ms, or 20
    inputs = Batch(
        features=torch.randn(2, layers, frames, width),
        lengths=torch.tensor([frames, frames]),
        audio=torch.randn(2, 25 * 320 + 80),
        samples=torch.tensor([25 * 320 + 80] * 2),
    )
    assert detector.score_prepared(inputs).isfinite().all()


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("frontend: {name: lfcc}\nmodel: {name: moe_mamba}\nloss: {name: oc_softmax}\n")
    return path


def test_resolved_config_means_the_same(config_file, tmp_path):
    config = load_config(config_file, ["training.epochs=7", "frontend.crop.samples=1000"])
    experiment = Experiment(tmp_path / "exp")
    experiment.claim(config, INPUTS)
    assert experiment.config() == config
    assert to_mapping(config)["training"]["epochs"] == 7
    experiment.claim(config, INPUTS)


@pytest.mark.parametrize(
    "word, message",
    [
        ("model={name: committee, members: []}", "model.name=committee was removed; .*'asvtk calibrate'"),
        ("loss={name: am_softmax}", "loss.name=am_softmax was removed; oc_softmax and wce"),
        ("resynthesis.methods=[world]", "resynthesis is called vocoded now"),
        ("frontend.mode=live", "frontend.mode is frontend.cache now: .* false for live"),
        ("training.accumulate=2", "training.accumulate is called training.grad_accum now"),
        ("training.clip=0", "training.clip is called training.grad_clip now"),
        ("training.splice=0.5", "training.splice was removed; delete it"),
        ("model.subtract_mean=false", "model.subtract_mean was removed; delete it"),
    ],
)
def test_a_configuration_of_an_earlier_asvtk_is_refused_with_what_became_of_the_key(
    config_file, word, message
):
    with pytest.raises(AsvtkError, match=rf"c\.yaml: {message}"):
        load_config(config_file, [word])


def test_folder_of_another_configuration_is_refused_with_the_difference(config_file, tmp_path):
    experiment = Experiment(tmp_path / "exp")
    experiment.claim(load_config(config_file), INPUTS)
    with pytest.raises(
        AsvtkError,
        match=r"(?s)another configuration or other data:\s+training.epochs: 50 -> 7\n.*--tag.*--force",
    ):
        experiment.claim(load_config(config_file, ["training.epochs=7"]), INPUTS)


def test_folder_of_other_data_is_refused_with_the_difference(config_file, tmp_path):
    experiment = Experiment(tmp_path / "exp")
    experiment.claim(load_config(config_file), INPUTS)
    with pytest.raises(AsvtkError, match="other data:\n  train data: a -> c\n"):
        experiment.claim(load_config(config_file), INPUTS | {"train data": "c"})


def test_second_process_waits_until_the_first_has_ended(tmp_path):
    program = (
        "import logging, sys; from asvtk.training.experiment import Experiment\n"
        "logging.basicConfig(format='%(message)s', level=logging.INFO)\n"
        "with Experiment(sys.argv[1]).lock(): print('locked', flush=True); sys.stdin.read()"
    )

    def start():
        command = [sys.executable, "-c", program, tmp_path]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, **pipes, text=True)

    with start() as first:
        assert first.stdout.readline() == "locked\n"
        with start() as second:
            waiting = f"{tmp_path}: waiting for process {first.pid} on {platform.node()}, which trains here\n"
            assert second.stderr.readline() == waiting  # a script may read the other
            first.stdin.close()
            assert second.stdout.readline() == "locked\n"
            second.stdin.close()


@pytest.mark.parametrize(
    "override, message",
    [
        ("model.expert=8", "model: unknown key 'expert'; did you mean 'experts'"),
        ("trainning.epochs=8", "unknown key 'trainning'; did you mean 'training'"),
        ("frontend.name=lfc", "frontend.name: unknown 'lfc'; did you mean 'lfcc'"),
        ("loss.name=crossentropy", "loss.name: unknown 'crossentropy'; valid are oc_softmax"),
        ("training.lr=.inf", "training.lr: inf does not fit; expected a number"),
        ("training.grad_clip=-1", "must not be negative"),
        ("loss.alpha=0", "alpha must be positive"),
        ("training.warmup_epochs=50", "0 <= warmup_epochs < epochs"),
        ("training.eval_every=51", r"eval_every 51.0: expected a number of epochs in \(0, 50\]"),
        ("training.grad_accum=17", "grad_accum 17 must not exceed batch_size"),
        ("training.ema=1", r"ema must lie in \[0, 1\)"),
        ("training.optimizer=sgd", "training.optimizer: 'sgd' does not fit; expected adamw or adam"),
        ("training.rates=1e-4", "training.rates: expected prefixes"),
        ("training.sampling.corpus=even", "training.sampling.corpus: 'even' does not fit; expected equal"),
    ],
)
def test_config_that_cannot_be_is_refused(config_file, override, message):
    with pytest.raises(AsvtkError, match=message):
        load_config(config_file, [override])


@pytest.mark.parametrize(
    "other, message",
    [
        ("training.balance=true", "balance and sampling exclude each other; label: equal in sampling"),
        ("vocoded.share=0.5", "vocoded.share and training.sampling exclude each other: both say how many"),
    ],
)
def test_sampling_goes_alone(config_file, other, message):
    with pytest.raises(AsvtkError, match=message):
        load_config(config_file, ["training.sampling.label=equal", other])
    load_config(config_file, ["training.sampling.label=equal", "vocoded.share=null"])


def test_resolved_sampling_keeps_the_order_of_its_levels(config_file, tmp_path):
    levels = ["label=equal", "corpus.la19-train=2", "corpus.wild-train=1", "attack=null"]
    config = load_config(config_file, [f"training.sampling.{word}" for word in levels])
    experiment = Experiment(tmp_path / "exp")
    experiment.claim(config, INPUTS)
    assert experiment.config() == config
    assert config.training.sampling.names == ["label", "corpus", "attack"]
    assert to_mapping(config)["training"]["sampling"]["corpus"] == {"la19-train": 2, "wild-train": 1}


def test_detector_of_a_former_training_can_be_built(config_file):
    """Its package holds the whole configuration, and scoring needs none of the keys that were renamed."""
    content = load_yaml(config_file)
    content["training"] = {"clip": 1.0}
    assert DetectorConfig.of(content, "a package") == DetectorConfig.of(load_yaml(config_file), "a package")


def test_config_without_a_section_is_refused(config_file):
    config_file.write_text("frontend: {name: lfcc}\n")
    with pytest.raises(AsvtkError, match="the key 'model' is missing"):
        load_config(config_file)


def test_experiment_that_was_never_trained_says_stage_3(tmp_path):
    with pytest.raises(AsvtkError, match="nothing was trained here; run stage 3 first"):
        Experiment(tmp_path).config()


def test_several_gpus_want_torchrun(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    with pytest.raises(AsvtkError, match=r"--ngpu 2: .*torchrun --nproc-per-node N"):
        choose_device(2)


def test_what_became_of_a_training(config_file, tmp_path):
    experiment = Experiment(tmp_path / "exp")
    experiment.claim(load_config(config_file), INPUTS)
    assert experiment.state() == "stopped"
    with experiment.lock():
        assert experiment.state() == "training"
    assert experiment.state() == "stopped"
    experiment.done.write_text("{}")
    assert experiment.state() == "finished"


def test_changed_source_is_recorded(tmp_path, monkeypatch):
    from asvtk.training import experiment

    repository = tmp_path / "repository"
    (repository / "a" / "b").mkdir(parents=True)
    (repository / "a" / "b" / "c.py").write_text("x = 1\n")
    git = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(experiment, "__file__", str(repository / "a" / "b" / "c.py"))
    experiment.write_environment(tmp_path, "cpu", 3, {})
    assert not (tmp_path / "diff.patch").exists()
    (repository / "a" / "b" / "c.py").write_text("x = 2\n")
    (repository / "new.py").write_text("y = 3\n")
    experiment.write_environment(tmp_path, "cpu", 3, {})
    patch = (tmp_path / "diff.patch").read_text()
    assert "-x = 1" in patch and "+x = 2" in patch and "+y = 3" in patch


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpu_that_is_not_there_is_no_reason_to_use_the_cpu():
    with pytest.raises(AsvtkError, match="sees no GPU here; give --ngpu 0"):
        choose_device(1)


def test_clear_also_where_the_folder_is_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = Experiment("exp/a")
    for path in (experiment.log, experiment.done, experiment.package, experiment.scores("dev")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (experiment.folder / "log").mkdir()
    experiment.clear()
    assert [path.name for path in experiment.folder.iterdir()] == ["log"]
