"""Checkpoints that are written beside training, on slow, full and broken disks."""

import threading

import pytest
import torch

from asvtk.io.errors import AsvtkError
from asvtk.training import checkpoint
from asvtk.training.checkpoint import CheckpointWriter, read_tensors

PROGRESS = {"top": []}


def enqueue(writer, name, value):
    writer.enqueue(name, {"w": torch.full((3,), float(value))}, {**PROGRESS, "value": value})


def written(tmp_path, name):
    return read_tensors(tmp_path / f"{name}.safetensors")[1]["value"]


@pytest.fixture
def slow_disk(monkeypatch):
    """Writes wait for ``go``; ``order`` is what was written."""
    write, go, order = checkpoint.write_tensors, threading.Event(), []

    def slow(path, *rest):
        assert go.wait(30)
        write(path, *rest)
        order.append(path.stem)

    monkeypatch.setattr(checkpoint, "write_tensors", slow)
    return go, order


def test_training_goes_on_while_checkpoints_are_written(tmp_path, slow_disk):
    go, order = slow_disk
    writer = CheckpointWriter(tmp_path)
    enqueue(writer, "last", 1)
    enqueue(writer, "best", 1)
    writer.begin()  # returns although nothing can be written yet
    enqueue(writer, "last", 2)
    writer.retry()
    assert order == []
    go.set()
    assert writer.flush()
    assert order == ["best", "last", "last"]
    assert (written(tmp_path, "best"), written(tmp_path, "previous"), written(tmp_path, "last")) == (1, 1, 2)


def test_of_what_found_no_room_the_newest_is_written(tmp_path, monkeypatch, capsys):
    writer = CheckpointWriter(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoint, "write_tensors", lambda path, *_: (_ for _ in ()).throw(AsvtkError(f"{path}: full"))
        )
        enqueue(writer, "best", 1)
        enqueue(writer, "last", 1)
        assert not writer.flush()
    assert "full" in capsys.readouterr().out
    enqueue(writer, "last", 2)
    writer.finish()
    assert (written(tmp_path, "best"), written(tmp_path, "last")) == (1, 2)
    assert not (tmp_path / "previous.safetensors").exists()


def test_fault_of_the_thread_reaches_training(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "write_tensors", lambda *_: 1 / 0)
    writer = CheckpointWriter(tmp_path)
    enqueue(writer, "last", 1)
    writer.begin()
    with pytest.raises(ZeroDivisionError):
        writer.flush()


def test_nothing_is_written_any_more_when_it_is_closed(tmp_path, slow_disk, capsys):
    go, order = slow_disk
    writer = CheckpointWriter(tmp_path)
    enqueue(writer, "last", 1)
    writer.begin()
    threading.Timer(0.2, go.set).start()
    writer.close()
    assert order == ["last"] and written(tmp_path, "last") == 1
    assert not capsys.readouterr().out


def test_closing_says_what_was_not_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "write_tensors", lambda *_: 1 / 0)
    writer = CheckpointWriter(tmp_path)
    enqueue(writer, "last", 1)
    writer.begin()
    writer.close()
    assert "a checkpoint was not written: ZeroDivisionError" in capsys.readouterr().out
