"""More epochs for a finished training, and a training that begins with the weights of another."""

import json
import shutil

import pytest
import torch

from asvtk.bin.main import main
from asvtk.io.errors import AsvtkError
from asvtk.training.checkpoint import read_tensors
from asvtk.training.continuation import InitialWeights


@pytest.fixture
def train(corpus):
    def run(exp, *words, status=0):
        sets = ["--train-data", corpus / "data/train", "--dev-data", corpus / "data/dev"]
        command = [
            "train",
            "--config",
            corpus / "c.yaml",
            "--exp",
            exp,
            "--dump",
            corpus / "dump",
            *sets,
            *words,
        ]
        assert main([str(word) for word in command]) == status

    return run


def test_fault_22_more_epochs_go_on_from_the_last_checkpoint(train, tmp_path, capsys, records):
    exp = tmp_path / "exp"
    train(exp, "--override", "training.epochs=2", "training.average_best=2")
    first = records(exp)
    (exp / "results.json").write_text("{}")
    capsys.readouterr()
    train(exp, "--override", "training.epochs=3", "training.average_best=2")
    said = capsys.readouterr().out
    assert "2 -> 3 epochs; goes on after epoch 2 with the learning rates of a training of 3" in said
    assert [line["epoch"] for line in records(exp)] == [1, 2, 3] and records(exp)[:2] == first
    assert read_tensors(exp / "checkpoints" / "last.safetensors")[1]["epoch"] == 3
    assert not (exp / "results.json").exists()
    extended = json.loads((exp / "inputs.json").read_text())["extended"]
    assert extended == [{"after epoch": 2, "epochs": "2 -> 3"}]
    train(exp, "--override", "training.epochs=3", "training.average_best=2")  # finished: nothing to do
    assert "trained already" in capsys.readouterr().out
    for words in (
        ["training.epochs=2", "training.average_best=2"],
        ["training.epochs=4", "training.lr=1e-3"],
    ):
        train(exp, "--override", *words, status=1)
        assert "was trained with another configuration" in capsys.readouterr().err
    (exp / "checkpoints" / "last.safetensors").unlink()
    (exp / "checkpoints" / "previous.safetensors").unlink()
    train(exp, "--override", "training.epochs=4", "training.average_best=2", status=1)
    assert "last.safetensors: is gone" in capsys.readouterr().err and (exp / ".train.done").exists()


def test_fault_22_weights_of_another_experiment_to_begin_with(train, tmp_path, capsys):
    old, new = tmp_path / "old", tmp_path / "new"
    train(old, "--override", "training.epochs=1", "training.warmup_epochs=0")
    capsys.readouterr()
    still = [
        "--override",
        "training.epochs=1",
        "training.warmup_epochs=0",
        "training.lr=0",
        "training.lr_end=0",
    ]
    train(new, "--init", old, *still, "model.d_embedding=4")
    said = capsys.readouterr().out
    assert f"tensors of {old}; new: loss." in said and "; not used: loss." in said
    ours, theirs = (read_tensors(exp / "checkpoints" / "best.safetensors")[0] for exp in (new, old))
    same = "detector.model.mvn.mean"
    assert torch.equal(ours[same], theirs[same])
    digest = json.loads((new / "inputs.json").read_text())["initial weights"]
    assert digest == InitialWeights.read(old).sha256
    train(new, *still, "model.d_embedding=4", status=1)
    assert f"initial weights: {digest} -> None" in capsys.readouterr().err
    shutil.copy(old / "checkpoints" / "best.safetensors", tmp_path / "w.safetensors")
    assert InitialWeights.read(tmp_path / "w.safetensors").sha256 == digest
    with pytest.raises(AsvtkError, match="none of its tensors has a name and shape of this system"):
        InitialWeights.read(old).load(torch.nn.Linear(2, 2))
    with pytest.raises(AsvtkError, match="expected an experiment with checkpoints/best.safetensors"):
        InitialWeights.read(tmp_path)
