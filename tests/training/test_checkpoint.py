"""Checkpoints: whole or not there, and the one before when the last is damaged."""

import pytest
import torch

from asvtk.io.errors import AsvtkError
from asvtk.training.checkpoint import load_detector, read_training, save_detector, write_tensors
from asvtk.training.optim import MovingAverage
from asvtk.training.state import TrainingState


def a_run(seed=0, width=4):
    torch.manual_seed(seed)
    detector = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.BatchNorm1d(width), torch.nn.Dropout())
    optimiser = torch.optim.AdamW(detector.parameters(), 1e-2)
    state = TrainingState(detector, optimiser, MovingAverage(detector, 0.9))
    step(state)
    return state


def step(state):
    state.optimiser.zero_grad()
    state.detector(torch.ones(2, 3) * torch.rand(2, 3)).square().sum().backward()
    state.update()


def save(folder, tensors, progress):
    write_tensors(folder / "last.safetensors", tensors, progress, folder / "previous.safetensors")


def assert_equal(state, other):
    (ours, progress), (theirs, expected) = state.snapshot(), other.snapshot()
    assert progress == expected and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_training_state_comes_back_bit_for_bit(tmp_path):
    state = a_run()
    state.progress.step, state.progress.top = 7, [[0.1, 0.2, "epoch_001"]]
    save(tmp_path, *state.snapshot())
    step(state)
    fresh = a_run(seed=1)
    path, tensors, progress = read_training(tmp_path)
    fresh.restore(tensors, progress, path)
    fresh.restore_random()
    step(fresh)
    assert_equal(fresh, state)


def test_snapshot_does_not_change_with_the_state():
    state, twin = a_run(), a_run()
    good = state.snapshot()
    step(state)
    state.restore(*good)
    assert_equal(state, twin)
    step(state)
    state.restore(*good)
    assert_equal(state, twin)


def test_checkpoints_can_be_read_by_others(tmp_path):
    (tmp_path / "plain").touch()
    save(tmp_path, *a_run().snapshot())
    assert (tmp_path / "last.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nothing_to_go_on_from(tmp_path):
    assert read_training(tmp_path) is None


@pytest.mark.parametrize(
    "harm", [lambda p: p.write_bytes(p.read_bytes()[:100]), lambda p: p.write_bytes(b"")]
)
def test_damaged_last_gives_the_one_before_and_says_so(tmp_path, capsys, harm):
    tensors, progress = a_run().snapshot()
    save(tmp_path, tensors, {"epoch": 1})
    save(tmp_path, tensors, {"epoch": 2})
    harm(tmp_path / "last.safetensors")
    assert read_training(tmp_path)[2] == {"epoch": 1}
    assert "last.safetensors: is damaged" in capsys.readouterr().out
    harm(tmp_path / "previous.safetensors")
    with pytest.raises(AsvtkError, match="last.*damaged.*previous.*damaged.*--force"):
        read_training(tmp_path)


def test_killed_between_the_two_renames_there_is_still_one(tmp_path):
    save(tmp_path, a_run().snapshot()[0], {"epoch": 1})
    (tmp_path / "last.safetensors").rename(tmp_path / "previous.safetensors")
    assert read_training(tmp_path)[2] == {"epoch": 1}


def test_state_of_another_system_is_refused(tmp_path):
    save(tmp_path, *a_run().snapshot())
    path, tensors, progress = read_training(tmp_path)
    with pytest.raises(AsvtkError, match="last.safetensors: holds the weights of another system"):
        a_run(width=5).restore(tensors, progress, path)


def test_weights_of_another_system_are_refused(tmp_path):
    save_detector(tmp_path / "best.safetensors", a_run().detector, {})
    with pytest.raises(AsvtkError, match="best.safetensors: holds the weights of another system"):
        load_detector(tmp_path / "best.safetensors", a_run(width=5).detector)


def test_missing_checkpoint_says_stage_3(tmp_path):
    with pytest.raises(AsvtkError, match="no such checkpoint; run stage 3 first"):
        load_detector(tmp_path / "best.safetensors", a_run().detector)
