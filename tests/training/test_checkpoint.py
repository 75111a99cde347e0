"""Checkpoints: whole or not there, and the one before when the last is damaged."""

import pytest
import torch

from asvtk.io.errors import AsvtkError
from asvtk.training.checkpoint import load_detector, load_training, save_detector, save_training


def a_run(seed=0, width=4):
    torch.manual_seed(seed)
    detector = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.BatchNorm1d(width))
    optimiser = torch.optim.AdamW(detector.parameters(), 1e-2)
    step(detector, optimiser)
    return detector, optimiser


def step(detector, optimiser):
    optimiser.zero_grad()
    detector(torch.ones(2, 3) * torch.rand(2, 3)).square().sum().backward()
    optimiser.step()


def states(detector, optimiser):
    moments = [state[slot] for state in optimiser.state_dict()["state"].values() for slot in sorted(state)]
    return [*detector.state_dict().values(), *moments]


def test_training_state_comes_back_bit_for_bit(tmp_path):
    detector, optimiser = a_run()
    save_training(tmp_path, detector, optimiser, {"epoch": 7, "best_dev_eer": 0.1})
    fresh, fresh_optimiser = a_run(seed=1)
    assert load_training(tmp_path, fresh, fresh_optimiser) == {"epoch": 7, "best_dev_eer": 0.1}
    for ours, theirs in zip(states(fresh, fresh_optimiser), states(detector, optimiser), strict=True):
        assert torch.equal(ours, theirs)
    for run in ((detector, optimiser), (fresh, fresh_optimiser)):
        torch.manual_seed(5)
        step(*run)
    for ours, theirs in zip(states(fresh, fresh_optimiser), states(detector, optimiser), strict=True):
        assert torch.equal(ours, theirs)


def test_nothing_to_go_on_from(tmp_path):
    assert load_training(tmp_path, *a_run()) is None


@pytest.mark.parametrize(
    "harm", [lambda p: p.write_bytes(p.read_bytes()[:100]), lambda p: p.write_bytes(b"")]
)
def test_damaged_last_gives_the_one_before_and_says_so(tmp_path, capsys, harm):
    run = a_run()
    save_training(tmp_path, *run, {"epoch": 1})
    save_training(tmp_path, *run, {"epoch": 2})
    harm(tmp_path / "last.safetensors")
    assert load_training(tmp_path, *a_run()) == {"epoch": 1}
    assert "last.safetensors: is damaged" in capsys.readouterr().out
    harm(tmp_path / "previous.safetensors")
    with pytest.raises(AsvtkError, match="last.*damaged.*previous.*damaged.*--force"):
        load_training(tmp_path, *a_run())


def test_killed_between_the_two_renames_there_is_still_one(tmp_path):
    save_training(tmp_path, *a_run(), {"epoch": 1})
    (tmp_path / "last.safetensors").rename(tmp_path / "previous.safetensors")
    assert load_training(tmp_path, *a_run()) == {"epoch": 1}


def test_weights_of_another_system_are_refused(tmp_path):
    save_detector(tmp_path / "best.safetensors", a_run()[0], {})
    with pytest.raises(AsvtkError, match="best.safetensors: holds the weights of another system"):
        load_detector(tmp_path / "best.safetensors", a_run(width=5)[0])


def test_missing_checkpoint_says_stage_3(tmp_path):
    with pytest.raises(AsvtkError, match="no such checkpoint; run stage 3 first"):
        load_detector(tmp_path / "best.safetensors", a_run()[0])
