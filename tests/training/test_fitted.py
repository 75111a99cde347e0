"""Back-ends that are solved for: one epoch, which resumes to the same bits."""

import signal
from pathlib import Path

import pytest
import torch
from tiny_corpus import write_tiny_corpus
from tiny_training import Killed, open_sets

from asvtk.bin.main import main
from asvtk.io.errors import AsvtkError
from asvtk.models import build_detector
from asvtk.models.logistic import Logistic
from asvtk.training import trainer
from asvtk.training.checkpoint import load_detector
from asvtk.training.config import load_config
from asvtk.training.scoring import score_dataset
from asvtk.training.signals import Stopped

SETTINGS = (
    "model={name: logistic, statistics: mean_std}",
    "loss={name: logit}",
    "training={epochs: 1, warmup_epochs: 0, batch_size: 4}",
)


def test_it_learns_in_one_epoch_and_says_how(run, tmp_path, records, capsys):
    progress = run(tmp_path, *SETTINGS)
    assert (progress["epoch"], progress["updates"], progress["best_dev_eer"]) == (1, 1, 0)
    (record,) = records(tmp_path)
    assert record["loss"] < 0.1
    assert "logistic regression, C " in capsys.readouterr().out


def test_weights_do_not_depend_on_the_batch_size_or_on_the_seed(run, corpus, tmp_path):
    weights = []
    for name, word in (("a", "seed=1"), ("b", "seed=2"), ("c", "training.batch_size=3")):
        run(tmp_path / name, *SETTINGS, word, "model.C=0.1")
        config = load_config(corpus / "c.yaml", list(SETTINGS))
        detector = build_detector(config, open_sets(corpus, config)[0].frontend)
        load_detector(tmp_path / name / "checkpoints" / "best.safetensors", detector)
        weights.append(detector.model.weight)
    assert torch.equal(weights[0], weights[1])
    torch.testing.assert_close(weights[0], weights[2], rtol=1e-3, atol=1e-5)


def test_killed_while_it_is_solved_for_it_begins_anew_and_ends_with_the_same_bits(
    run, tmp_path, monkeypatch, content
):
    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Logistic, "fit", killed)
        run(tmp_path / "killed", *SETTINGS)
    run(tmp_path / "killed", *SETTINGS)
    run(tmp_path / "undisturbed", *SETTINGS)
    for name in ("last", "best"):
        assert content(tmp_path / "killed", name) == content(tmp_path / "undisturbed", name)
    before = content(tmp_path / "killed")
    run(tmp_path / "killed", *SETTINGS)  # it is finished
    assert content(tmp_path / "killed") == before


def test_asked_to_stop_it_stops_between_batches(run, tmp_path, monkeypatch, content):
    summary = Logistic.summary

    def signalled(self, batch):
        signal.raise_signal(signal.SIGTERM)
        return summary(self, batch)

    with (
        monkeypatch.context() as patch,
        pytest.raises(Stopped, match="stopped by SIGTERM; saved after epoch 0"),
    ):
        patch.setattr(Logistic, "summary", signalled)
        run(tmp_path / "stopped", *SETTINGS)
    run(tmp_path / "stopped", *SETTINGS)
    run(tmp_path / "undisturbed", *SETTINGS)
    assert content(tmp_path / "stopped", "best") == content(tmp_path / "undisturbed", "best")


def test_weights_are_scored_with(run, corpus, tmp_path):
    run(tmp_path, *SETTINGS)
    config = load_config(corpus / "c.yaml", list(SETTINGS))
    dev = open_sets(corpus, config)[1]
    detector = build_detector(config, dev.frontend)
    load_detector(tmp_path / "checkpoints" / "best.safetensors", detector)
    dev.serve(detector.model)
    scores = torch.tensor(score_dataset(detector, dev, 4, "cpu"))
    assert scores[dev.bonafide].min() > 0 > scores[~dev.bonafide].max()


@pytest.mark.parametrize(
    "word, message",
    [
        ("training.epochs=2", "model logistic: is solved for in one epoch, .* set training.epochs to 1"),
        ("training.ema=0.9", "leave training.ema out"),
        ("loss={name: wce}", r"nothing would train loss.classifier.weight; choose loss: {name: logit}"),
    ],
)
def test_what_cannot_be_solved_for_is_refused(run, tmp_path, word, message):
    with pytest.raises(AsvtkError, match=message):
        run(tmp_path, *SETTINGS, word)


def test_it_goes_through_the_stages(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    la = write_tiny_corpus(tmp_path / "corpus")
    config = Path(__file__).parents[2] / "egs" / "asvspoof2019_la" / "conf" / "lfcc_logistic.yaml"
    given, trained = ["--config", str(config)], ["--exp", "exp/mine", "--dump", "dump"]
    assert main(["prepare", str(la), "data"]) == 0
    for split in ("train", "dev"):
        for step in ("begin", "job", "join"):
            assert main(["extract", step, *given, "--data", f"data/{split}", "--dump", "dump"]) == 0
    clip = next(la.rglob("*_D_*.flac"))
    for words in (
        ["train", *given, *trained, "--train-data", "data/train", "--dev-data", "data/dev"],
        ["score", *trained, "--data", "data/dev"],
        ["evaluate", "--exp", "exp/mine", "--data-root", "data"],
        ["pack", "--exp", "exp/mine"],
        ["score", "--model", "exp/mine/mine.asvtk.tar", "--data", "data/dev", "--out", "scores.txt"],
        ["detect", str(clip), "--model", "exp/mine/mine.asvtk.tar"],
    ):
        assert main(words) == 0, capsys.readouterr().err
    staged, packed = (
        {line.split()[0]: float(line.split()[-1]) for line in Path(name).read_text().splitlines()}
        for name in ("exp/mine/scores/dev.txt", "scores.txt")
    )
    assert packed == pytest.approx(staged, rel=1e-4, abs=1e-4)


def test_other_back_ends_are_trained_as_before(run, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "gather_summaries", None)
    assert run(tmp_path, "training.epochs=1", "training.warmup_epochs=0")["updates"] == 3
