"""Two processes train what one does, and score every trial once."""

import json
import os
import socket

import pytest
import tiny_training
import torch

from asvtk.models import build_detector
from asvtk.training import distributed
from asvtk.training.checkpoint import load_detector, read_tensors
from asvtk.training.config import load_config
from asvtk.training.scoring import score_dataset

# Dropout draws other numbers in each process, and the load-balance loss is no mean over utterances.
SETTINGS = (
    "model.dropout=0", "model.balance_weight=0", "model.z_weight=0", "training.batch_size=5",
    "training.windows.shortest=0.2", "training.windows.longest=0.5",  # the same in all processes
    "training.sampling={label: {bonafide: 1, spoof: 2}}",
)  # fmt: skip


def train_and_score(environment, corpus, exp):
    """What ``torchrun`` would start with this environment."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    with distributed.joined("cpu"):
        tiny_training.run(corpus, exp, *SETTINGS)
        scores = score(corpus, exp)
        (exp / f"scores{distributed.rank()}.json").write_text(json.dumps(scores))


def score(corpus, exp):
    config = load_config(corpus / "c.yaml", list(SETTINGS))
    dev = tiny_training.open_sets(corpus, config)[1]
    detector = build_detector(config, dev.frontend)
    load_detector(exp / "checkpoints" / "best.safetensors", detector)
    return score_dataset(detector, dev, 3, "cpu")


def start_all(processes, size, *arguments):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(size):
        environment = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {name: str(value) for name, value in environment.items()}
        process = processes.Process(target=train_and_score, args=(environment, *arguments))
        process.start()
        started.append(process)
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def test_two_processes_train_what_one_does(run, corpus, tmp_path, records, processes):
    # Of the last batch, 2 utterances, each process has one; of the others one has 3 and the other 2.
    assert start_all(processes, 2, corpus, tmp_path / "two") == [0, 0]
    run(tmp_path / "one", *SETTINGS)
    for ours, theirs in zip(records(tmp_path / "two"), records(tmp_path / "one"), strict=True):
        for name in ("loss", "dev_loss", "dev_eer_percent"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3)
    folders = [tmp_path / name / "checkpoints" for name in ("two", "one")]
    two, one = (read_tensors(folder / "last.safetensors")[0] for folder in folders)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-2, atol=1e-3)
    alone = score(corpus, tmp_path / "two")
    for rank in (0, 1):
        shared = json.loads((tmp_path / "two" / f"scores{rank}.json").read_text())
        assert len(shared) == 8 and shared == alone  # to the bit: both score the same batches


def test_shares_hold_every_item_once(monkeypatch):
    for size in (1, 2, 3, 8):
        for total in (0, 1, 5, 7):
            items, shares = list(range(total)), []
            for rank in range(size):
                monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
                monkeypatch.setattr(distributed, "size", lambda size=size: size)
                shares.append(distributed.share(items))
            monkeypatch.setattr(distributed, "gather_objects", lambda own, shares=shares: shares)
            assert distributed.gather(shares[0], total) == items
            assert sorted(item for share in shares for item in share) == items
