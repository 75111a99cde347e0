"""Faults are injected: training skips, goes back, goes on, or says why it cannot."""

import math
import shutil

import pytest
import torch
from tiny_training import open_sets

from asvtk.io.errors import AsvtkError
from asvtk.models.detector import Detector
from asvtk.nn.losses import OcSoftmax
from asvtk.training import checkpoint
from asvtk.training.checkpoint import read_tensors
from asvtk.training.config import load_config
from asvtk.training.experiment import Experiment
from asvtk.training.logger import starved_experts
from asvtk.training.trainer import train


def spoil_loss(patch, calls, factor=math.nan):
    """Multiply the losses of these batches, counted from 1 over all that is computed."""
    forward, seen = Detector.forward, []

    def spoiled(self, *batch):
        seen.append(None)
        return forward(self, *batch) * (factor if len(seen) in calls else 1)

    patch.setattr(Detector, "forward", spoiled)


def is_finite(exp, name="last"):
    return all(
        x.isfinite().all() for x in read_tensors(exp / "checkpoints" / f"{name}.safetensors")[0].values()
    )


def test_batch_without_a_finite_loss_is_skipped_and_recorded(run, tmp_path, monkeypatch, records, capsys):
    spoil_loss(monkeypatch, {5})
    progress = run(tmp_path)
    assert (progress["epoch"], progress["updates"], progress["skipped_steps"]) == (4, 11, 1)
    assert progress["rollbacks"] == 0 and is_finite(tmp_path)
    (fault,) = records(tmp_path, "faults.jsonl")
    assert (fault["epoch"], fault["step"], fault["loss"], len(fault["utterances"])) == (2, 2, "nan", 4)
    assert "epoch 2, batch 2: loss nan" in capsys.readouterr().out
    assert records(tmp_path)[1]["skipped_steps"] == 1


def test_last_batch_of_all_may_be_bad(run, tmp_path, monkeypatch):
    spoil_loss(monkeypatch, {12})
    progress = run(tmp_path)
    assert (progress["epoch"], progress["updates"], progress["best_epoch"]) == (4, 11, 4)
    for name in ("last", "best"):
        assert is_finite(tmp_path, name)
    assert read_tensors(tmp_path / "checkpoints" / "best.safetensors")[1]["best_epoch"] == 4


def test_best_of_a_state_that_was_given_up_is_no_best(run, tmp_path, monkeypatch):
    """The weights that epoch 2 ends with, after a bad step, are given up in epoch 3."""
    spoil_loss(monkeypatch, {6, 7, 8})
    written = []
    enqueue = checkpoint.CheckpointWriter.enqueue
    monkeypatch.setattr(
        checkpoint.CheckpointWriter,
        "enqueue",
        lambda *a: (written.append((a[1], a[3]["epoch"])), enqueue(*a))[1],
    )
    progress = run(tmp_path)
    assert (progress["rollbacks"], progress["best_epoch"]) == (1, 4)
    assert written == [(name, epoch) for epoch in (1, 2, 3, 4) for name in ("best", "last")]  # 2 once


@pytest.mark.parametrize("value", [torch.inf, 3e38])
def test_exploding_gradient_never_reaches_the_weights(run, tmp_path, records, value):
    """3e38 is finite in each number of the gradient, and its norm is not."""
    initialise, seen = OcSoftmax.__init__, []

    def explode(gradient):
        seen.append(None)
        return torch.full_like(gradient, value) if len(seen) == 6 else gradient  # the last of epoch 2

    def exploding(self, *arguments):
        initialise(self, *arguments)
        self.centre.register_hook(explode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OcSoftmax, "__init__", exploding)
        progress = run(tmp_path)
    assert progress["updates"] == 11 and is_finite(tmp_path)
    (fault,) = records(tmp_path, "faults.jsonl")
    assert (fault["epoch"], fault["step"], fault["gradient_norm"]) == (2, 3, "inf")


def test_again_and_again_it_goes_back_to_a_lower_rate(run, tmp_path, monkeypatch, records):
    spoil_loss(monkeypatch, {7, 8, 9})  # all of epoch 3
    progress = run(tmp_path)
    assert (progress["rollbacks"], progress["rate_scale"], progress["epoch"]) == (1, 0.5, 4)
    assert progress["updates"] == 12  # epoch 3 was done again
    *skipped, back = records(tmp_path, "faults.jsonl")
    assert len(skipped) == 3 and back["reason"] == "epoch 3: 3 bad batches in a row"
    assert (back["epoch"], back["step"], back["rate_scale"]) == (2, 0, 0.5)
    log = records(tmp_path)
    assert [record["epoch"] for record in log] == [1, 2, 3, 4] and is_finite(tmp_path)
    monkeypatch.undo()
    run(tmp_path / "healthy")
    rates = [record["lr"] for record in records(tmp_path / "healthy")]
    assert [record["lr"] for record in log] == pytest.approx([rates[0], rates[1], rates[2] / 2, rates[3] / 2])


def test_after_too_many_ways_back_it_stops_with_a_diagnosis(run, tmp_path, monkeypatch, records):
    with monkeypatch.context() as patch:
        spoil_loss(patch, range(5, 1000))
        with pytest.raises(
            AsvtkError,
            match=r"epoch 3: 3 bad batches in a row, after 2 times back .* in more than one bad batch: "
            r"LA_T_1000296; look .*Lower training.lr.*faults.jsonl lists the batches",
        ):
            run(tmp_path, "training.max_rollbacks=2", "training.save_every=1")
    scales = [r["rate_scale"] for r in records(tmp_path, "faults.jsonl") if r["fault"] == "rollback"]
    assert scales == [0.5, 0.25] and is_finite(tmp_path)
    assert run(tmp_path, "training.max_rollbacks=2", "training.save_every=1")["epoch"] == 4


def test_bad_from_the_beginning_it_goes_back_to_the_beginning(run, tmp_path, monkeypatch, content):
    spoil_loss(monkeypatch, {1, 2, 3})
    progress = run(tmp_path)
    assert (progress["rollbacks"], progress["updates"]) == (1, 12) and is_finite(tmp_path)


def test_dev_scores_that_are_not_finite_lead_back_too(run, tmp_path, monkeypatch, records):
    score, seen = OcSoftmax.score, []

    def broken(self, embedding):
        if self.training:
            return score(self, embedding)
        seen.append(None)
        return score(self, embedding) * (torch.nan if len(seen) == 3 else 1)

    monkeypatch.setattr(OcSoftmax, "score", broken)
    progress = run(tmp_path)
    assert (progress["epoch"], progress["rollbacks"]) == (4, 1)
    (fault,) = records(tmp_path, "faults.jsonl")
    assert "epoch 1: dev scores are not finite for LA_D_" in fault["reason"]
    assert [record["epoch"] for record in records(tmp_path)] == [1, 2, 3, 4]


def test_rollback_and_kill_together_end_with_the_same_bits(run, tmp_path, monkeypatch, content):
    """The faults are in the data here: they come again after the kill."""
    from asvtk.training.state import TrainingState

    forward, update = Detector.forward, TrainingState.update

    def at_high_rates(self, inputs, bonafide):
        spoiled = state["updates"] >= 6 and state["rate"] == 1.0
        return forward(self, inputs, bonafide) * (torch.nan if spoiled else 1)

    def watched(self):
        update(self)
        state.update(updates=self.progress.updates, rate=self.progress.rate_scale)
        if state["kill"] == self.progress.updates:
            raise KeyboardInterrupt

    restore = TrainingState.restore

    def restored(self, tensors, progress, *path):
        restore(self, tensors, progress, *path)
        state.update(updates=progress["updates"], rate=0.5 if path == () else progress["rate_scale"])

    for name, patched in (("update", watched), ("restore", restored)):
        monkeypatch.setattr(TrainingState, name, patched)
    monkeypatch.setattr(Detector, "forward", at_high_rates)
    state = {"updates": 0, "rate": 1.0, "kill": 0}
    assert run(tmp_path / "undisturbed")["rollbacks"] == 1
    state = {"updates": 0, "rate": 1.0, "kill": 8}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    state["kill"] = 0
    run(tmp_path / "killed")
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")


def test_collapsed_router_is_named(run, tmp_path, monkeypatch, capsys, records):
    from asvtk.nn.moe import MixtureOfExperts

    route = MixtureOfExperts._route

    def collapsed(self, x):
        logits, _ = route(self, x)
        logits = logits + torch.tensor([50.0, 40.0, 0.0, 0.0])
        chosen = torch.zeros_like(logits, dtype=torch.bool)
        chosen[..., :2] = True
        return logits, chosen

    monkeypatch.setattr(MixtureOfExperts, "_route", collapsed)
    run(tmp_path, "training.epochs=2")
    line = "routing collapse in blocks.0.experts: expert 2, 3 of 4 gets less than a tenth of an even share"
    assert line in capsys.readouterr().out
    assert records(tmp_path)[0]["routing"]["blocks.0.experts"]["load"] == [0.5, 0.5, 0.0, 0.0]


def test_even_load_raises_no_alarm():
    assert starved_experts({"a": {"load": [0.25, 0.25, 0.3, 0.2], "entropy": 1.3}}) == []
    assert len(starved_experts({"a": {"load": [0.5, 0.26, 0.22, 0.02], "entropy": 1.0}})) == 1


class Disk:
    """A disk that is full for a while."""

    def __init__(self, patch, full_for: int):
        self.left, self.usage = full_for, shutil.disk_usage
        patch.setattr(checkpoint.shutil, "disk_usage", self)
        patch.setattr(checkpoint, "_RETRY_S", 0.01)

    def __call__(self, folder):
        self.left -= 1
        return self.usage(folder)._replace(free=10_000) if self.left >= 0 else self.usage(folder)


@pytest.mark.parametrize("full_for", [2, 7, 25], ids=["a moment", "some epochs", "beyond the end"])
def test_full_disk_stops_nothing(run, tmp_path, monkeypatch, full_for, capsys, content):
    run(tmp_path / "undisturbed", "training.average_best=2")
    with monkeypatch.context() as patch:
        Disk(patch, full_for)
        run(tmp_path / "full", "training.average_best=2")
    said = capsys.readouterr().out
    assert "MB, and 0.0 MB are free; make room for" in said and "Training goes on, and tries again." in said
    for name in ("last", "best"):
        assert content(tmp_path / "full", name) == content(tmp_path / "undisturbed", name)


def test_disk_that_stays_full_is_an_error_at_last(run, tmp_path, monkeypatch):
    Disk(monkeypatch, 10**6)
    monkeypatch.setattr(checkpoint, "_PATIENCE_S", 0.05)
    with pytest.raises(AsvtkError, match="training is over, but its last checkpoint found no room"):
        run(tmp_path)


def test_write_that_fails_halfway_is_tried_again(run, tmp_path, monkeypatch, capsys, content):
    """No room for the file although the check found some: what a quota does."""
    from asvtk.training import checkpoint

    save_file, seen = checkpoint.save_file, []

    def fails_twice(tensors, path, metadata):
        seen.append(None)
        if len(seen) in (1, 2):
            path.write_bytes(b"half")
            raise OSError(122, "Disk quota exceeded")
        save_file(tensors, path, metadata=metadata)

    run(tmp_path / "undisturbed")
    monkeypatch.setattr(checkpoint, "save_file", fails_twice)
    monkeypatch.setattr(checkpoint, "_RETRY_S", 0.0)
    run(tmp_path / "failing")
    assert "cannot be written: Disk quota exceeded" in capsys.readouterr().out
    assert content(tmp_path / "failing") == content(tmp_path / "undisturbed")
    assert not list((tmp_path / "failing" / "checkpoints").glob(".*"))


def test_truncated_checkpoint_gives_the_one_before(run, tmp_path, capsys, content):
    run(tmp_path / "undisturbed")
    run(tmp_path / "cut")
    last = tmp_path / "cut" / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    (tmp_path / "cut" / ".train.done").unlink()
    capsys.readouterr()
    run(tmp_path / "cut")
    said = capsys.readouterr().out
    assert "last.safetensors: is damaged" in said and "going on after epoch 3" in said
    assert content(tmp_path / "cut") == content(tmp_path / "undisturbed")


@pytest.mark.parametrize("workers", [0, 2])
def test_feature_that_was_deleted_is_one_line(corpus, tmp_path, workers, monkeypatch):
    from asvtk.training import trainer
    from asvtk.training.dataloader import Loader

    shutil.copytree(corpus / "data", tmp_path / "data")
    shutil.copytree(corpus / "dump", tmp_path / "dump")
    shutil.copy(corpus / "c.yaml", tmp_path)
    for scp in (tmp_path / "dump").rglob("feats.scp"):
        scp.write_text(scp.read_text().replace(str(corpus), str(tmp_path)))
    monkeypatch.setattr(trainer, "Loader", lambda dataset, device: Loader(dataset, device, workers))
    config = load_config(tmp_path / "c.yaml", ["training.normalise_on=1"])
    sets = open_sets(tmp_path, config)
    (ark,) = (tmp_path / "dump").rglob("train/layer_00/part.0001.ark")
    data = ark.read_bytes()
    ark.write_bytes(data[: len(data) // 2])  # half of the utterances are gone
    with pytest.raises(AsvtkError) as fault:
        train(Experiment(tmp_path / "exp"), config, *sets, "cpu")
    assert str(ark) in str(fault.value) and "\n" not in str(fault.value)
