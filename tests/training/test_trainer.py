"""Training on a tiny corpus: it learns, every setting does what it says, and it resumes bit for bit."""

import shutil
import signal
import sys
import types

import pytest
import torch
from tiny_training import kill_at, open_sets

from asvtk.io.errors import AsvtkError
from asvtk.models import build_detector
from asvtk.training import trainer
from asvtk.training.checkpoint import load_detector, read_tensors
from asvtk.training.config import load_config
from asvtk.training.dataloader import Loader
from asvtk.training.scoring import score_dataset
from asvtk.training.signals import Stopped
from asvtk.training.state import TrainingState


def test_tones_and_noise_are_told_apart(run, tmp_path, records):
    progress = run(tmp_path)
    assert progress["epoch"] == 4 and progress["best_dev_eer"] == 0
    log = records(tmp_path)
    assert [record["epoch"] for record in log] == [1, 2, 3, 4]
    assert log[-1]["loss"] < log[0]["loss"]
    assert len(log[0]["routing"]["blocks.0.experts"]["load"]) == 4


def test_same_seed_same_weights_and_other_seed_other_weights(run, tmp_path, content):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, f"seed={seed}")
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


# An epoch has 3 updates: killed in the middle of one, at its first step, and at its last.
@pytest.mark.parametrize("killed_in", [5, 7, 12])
@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("training.save_every=1", "training.ema=0.9", "training.average_best=2"),
        ("training.save_every=2", "training.eval_every=0.34", "training.grad_accum=3"),
        ("training.save_every=1", "training.sampling={label: {bonafide: 1, spoof: 3}, attack: equal}"),
    ],
    ids=["plain", "averages", "often", "sampled"],
)
def test_killed_run_ends_with_the_same_bits(killed_run, killed_in, settings):
    killed_run(killed_in, *settings)


def test_the_log_says_once_what_an_epoch_has_of_each_corpus_and_label(run, tmp_path, capsys):
    run(tmp_path, "training.sampling.label={bonafide: 1, spoof: 2}", "training.sampling.speaker=null")
    said = capsys.readouterr().out
    lines = [
        "an epoch has 12 utterances, in the shares of training.sampling (label, speaker):",
        "  train bonafide: 4 (the set has 6)",
        "  train spoof: 8 (the set has 6)",
    ]
    assert all(said.count(line) == 1 for line in lines)
    run(tmp_path / "other", "training.sampling={speaker: equal}", "training.epochs=2")
    assert "  train bonafide: 6 (the set has 6)" in capsys.readouterr().out


def test_input_statistics_are_of_what_sampling_draws(run, tmp_path):
    means = {}
    for name, weights in (("spoof", (1, 11)), ("bonafide", (11, 1)), ("", ())):
        labels = zip(("bonafide", "spoof"), weights, strict=False)
        settings = [f"training.sampling.label.{label}={weight}" for label, weight in labels]
        run(tmp_path / name, "training.epochs=1", "training.warmup_epochs=0", *settings)
        tensors, _ = read_tensors(tmp_path / name / "checkpoints" / "last.safetensors")
        means[name] = next(x for key, x in tensors.items() if key.endswith("mvn.mean"))
    for name in ("spoof", "bonafide"):
        assert not torch.equal(means[name], means[""])
    spoof, bonafide = ((means[name] - means[""]).flatten() for name in ("spoof", "bonafide"))
    assert torch.dot(spoof, bonafide) < -0.9 * spoof.norm() * bonafide.norm()  # on opposite sides


def test_checkpoints_within_an_epoch_are_where_training_goes_on(run, tmp_path, monkeypatch, capsys):
    kill_at(monkeypatch, 6, run, tmp_path, "training.save_every=1")
    run(tmp_path, "training.save_every=1")
    assert "going on after epoch 1, batch 2 of the next" in capsys.readouterr().out


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_stop_it_saves_the_step_and_goes_on_to_the_same_bits(
    run, tmp_path, asked, monkeypatch, content
):
    update = TrainingState.update

    def signalled(self):
        if self.progress.updates == 4:
            signal.raise_signal(asked)
        update(self)

    before = signal.getsignal(asked)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "update", signalled)
        # The step in which the signal comes is finished, and one more, which hears of it.
        with pytest.raises(
            Stopped, match=rf"stopped by {asked.name}; saved after epoch 2\. The same command"
        ):
            run(tmp_path / "stopped")
    assert signal.getsignal(asked) == before
    assert read_tensors(tmp_path / "stopped" / "checkpoints" / "last.safetensors")[1]["updates"] == 6
    run(tmp_path / "stopped")
    run(tmp_path / "undisturbed")
    for name in ("last", "best"):
        assert content(tmp_path / "stopped", name) == content(tmp_path / "undisturbed", name)


def test_micro_batches_give_the_gradient_of_the_whole(run, tmp_path):
    # Without the load-balance loss, which is not a mean over utterances.
    settings = ("model.balance_weight=0", "model.z_weight=0", "model.dropout=0")
    for parts in (1, 3):
        run(tmp_path / str(parts), *settings, f"training.grad_accum={parts}")
    one, three = (read_tensors(tmp_path / name / "checkpoints" / "last.safetensors")[0] for name in "13")
    for name, tensor in one.items():
        torch.testing.assert_close(three[name], tensor, rtol=1e-3, atol=1e-4)


def test_bfloat16_learns_and_keeps_float32_weights(run, tmp_path, records):
    progress = run(tmp_path, "training.precision=bfloat16")
    assert progress["best_dev_eer"] == 0 and records(tmp_path)[-1]["loss"] < records(tmp_path)[0]["loss"]
    tensors, _ = read_tensors(tmp_path / "checkpoints" / "last.safetensors")
    assert {x.dtype for name, x in tensors.items() if name.startswith("detector.")} == {torch.float32}


def test_moving_average_is_what_dev_judges_and_best_keeps(run, tmp_path):
    run(tmp_path, "training.ema=0.9")
    last, progress = read_tensors(tmp_path / "checkpoints" / "last.safetensors")
    best, _ = read_tensors(tmp_path / "checkpoints" / "best.safetensors")
    assert progress["best_epoch"] == 4  # of this corpus
    for name in (name for name in last if name.startswith("average.")):
        assert torch.equal(best["detector." + name.removeprefix("average.")], last[name])
    assert any(
        not torch.equal(last["detector." + n.removeprefix("average.")], last[n])
        for n in last
        if n.startswith("average.")
    )


def test_average_of_the_best_is_their_mean(run, tmp_path, capsys, monkeypatch):
    from asvtk.training import evaluation

    seen = []

    def mean(states):
        seen.append(states)
        return mean_weights(states)

    mean_weights = evaluation.mean_weights
    monkeypatch.setattr(evaluation, "mean_weights", mean)
    run(tmp_path, "training.average_best=3")
    assert "average of epoch_" in capsys.readouterr().out and len(seen[0]) == 3
    best, progress = read_tensors(tmp_path / "checkpoints" / "best.safetensors")
    assert len(progress["average_of"]) == 3  # its EER is 0, like that of every epoch
    name = "detector.loss.centre"
    torch.testing.assert_close(best[name], torch.stack([state[name] for state in seen[0]]).mean(0))
    assert not list((tmp_path / "checkpoints").glob("epoch_*"))


def test_average_that_dev_likes_less_is_not_taken(run, tmp_path, monkeypatch, content):
    from asvtk.training import evaluation

    run(tmp_path / "plain")
    monkeypatch.setattr(
        evaluation, "mean_weights", lambda states: {name: -x for name, x in states[-1].items()}
    )
    run(tmp_path / "averaged", "training.average_best=2")
    one, two = (
        read_tensors(tmp_path / name / "checkpoints" / "best.safetensors")[0]
        for name in ("plain", "averaged")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_training_stops_when_dev_has_not_improved_for_long(run, tmp_path):
    # The rate is zero: nothing improves after the first epoch.
    progress = run(tmp_path, "training.lr=0", "training.lr_end=0", "training.patience=2")
    assert (progress["epoch"], progress["best_epoch"]) == (3, 1)


@pytest.mark.parametrize(
    "every, places",
    [("1", [(1, None), (2, None), (3, None), (4, None)]), ("2", [(2, None), (4, None)]),
     ("0.67", [(1, 2), (2, 1), (2, None), (3, 2), (4, 1), (4, None)])],
)  # fmt: skip
def test_dev_is_evaluated_where_asked(run, tmp_path, records, every, places):
    run(tmp_path, f"training.eval_every={every}")
    log = records(tmp_path)
    assert [(r["epoch"], r.get("step")) for r in log if "dev_loss" in r] == places
    assert [r["epoch"] for r in log if "step" not in r] == [1, 2, 3, 4]


def test_eval_is_watched_at_each_best_and_changes_nothing(run, tmp_path, corpus, records, content):
    config = load_config(corpus / "c.yaml")
    run(tmp_path / "watched", eval_set=open_sets(corpus, config)[1])
    run(tmp_path / "plain")
    assert content(tmp_path / "watched") == content(tmp_path / "plain")
    for record in records(tmp_path / "watched"):
        is_best = record["best_epoch"] == record["epoch"]
        assert ("eval_eer_percent" in record) == is_best
        assert not is_best or record["eval_eer_percent"] == record["dev_eer_percent"]  # it is dev, here


def test_deterministic_run_gives_the_same_scores(run, tmp_path, corpus):
    try:
        run(tmp_path / "deterministic", "training.deterministic=true")
    finally:
        torch.use_deterministic_algorithms(False)
        trainer_backend_back_to_auto()
    run(tmp_path / "plain")
    config = load_config(corpus / "c.yaml")
    dev = open_sets(corpus, config)[1]
    scores = []
    for name in ("deterministic", "plain"):
        detector = build_detector(config, dev.frontend)
        load_detector(tmp_path / name / "checkpoints" / "best.safetensors", detector)
        scores.append(score_dataset(detector, dev, 4, "cpu"))
    assert scores[0] == scores[1]


def trainer_backend_back_to_auto():
    from asvtk.nn.selective_scan import select_backend

    select_backend("auto")


def test_workers_change_nothing_and_live_on(corpus):
    dataset = open_sets(corpus, load_config(corpus / "c.yaml"))[0]
    plain, working, alive = Loader(dataset, "cpu"), Loader(dataset, "cpu", workers=2), []
    for seed, batches in ((1, [[0, 1, 2], [5, 4]]), (2, [[7], [1, 3]])):
        for (ours, labels), (theirs, expected) in zip(
            working(batches, seed), plain(batches, seed), strict=True
        ):
            assert torch.equal(ours.features, theirs.features) and torch.equal(labels, expected)
        alive.append({worker.pid for worker in working._loader._iterator._workers})
    assert alive[0] == alive[1]


def test_tensorboard_gets_what_the_log_gets(run, tmp_path, records, monkeypatch):
    class SummaryWriter:
        def __init__(self, folder, purge_step):
            started.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written[name, step] = value

        def flush(self):
            pass

    started, written = [], {}
    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    kill_at(monkeypatch, 8, run, tmp_path)
    run(tmp_path)
    assert started == [(str(tmp_path / "tensorboard"), step) for step in (1, 3)]
    for step, record in enumerate(records(tmp_path), 1):
        assert written["dev_eer_percent", step] == record["dev_eer_percent"]
        assert (
            written["routing/blocks.0.experts/expert_2", step]
            == record["routing"]["blocks.0.experts"]["load"][2]
        )


def test_sets_without_both_classes_are_refused(corpus, tmp_path):
    from asvtk.training.experiment import Experiment

    config = load_config(corpus / "c.yaml")
    training, dev = open_sets(corpus, config)
    dev.bonafide[:] = False
    with pytest.raises(AsvtkError, match=r"dev: 0 bona fide and 8 spoofed utterances with features; both"):
        trainer.train(Experiment(tmp_path), config, training, dev, "cpu")
    training.utterances, training.bonafide = [], training.bonafide[:0]
    with pytest.raises(AsvtkError, match=r"train: 0 bona fide and 0 spoofed utterances"):
        trainer.train(Experiment(tmp_path), config, training, dev, "cpu")


def test_cache_of_other_audio_is_refused(corpus, tmp_path):
    shutil.copytree(corpus / "data", tmp_path / "data")
    (tmp_path / "dump").symlink_to(corpus / "dump")
    path = tmp_path / "data" / "dev" / "utt2md5"
    utterance, md5 = path.read_text().splitlines()[3].split()
    path.write_text(path.read_text().replace(md5, "0" * 32))
    with pytest.raises(AsvtkError, match=rf"dev: holds features of other audio: {utterance} is not"):
        open_sets(tmp_path, load_config(corpus / "c.yaml"))


def test_no_features_says_stage_2(run, tmp_path):
    with pytest.raises(AsvtkError, match="there are no features .* run stage 2 first"):
        run(tmp_path, "frontend.preemphasis=0.5")
