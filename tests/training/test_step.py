"""One step: the gradient is autograd's, whatever the batch is cut into, and the losses stay float32."""

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.config import LOSSES
from asvtk.testing import detector_for
from asvtk.training.step import GradientStep

LENGTHS = torch.tensor([9, 7, 9, 5])


@pytest.fixture
def detector():
    torch.manual_seed(0)
    # Load balance is a property of a batch, not a mean over utterances.
    model = MoeMambaConfig(
        d_model=16, blocks=1, d_state=4, d_expert=8, balance_weight=0, z_weight=0, dropout=0
    )
    return detector_for(model, layers=1, width=6)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Batch(torch.randn(4, 1, 9, 6), LENGTHS, None, None), torch.tensor([True, False, False, True])


def gradients(detector):
    return [parameter.grad.clone() for parameter in detector.parameters()]


def test_gradient_is_that_of_the_mean_loss(detector, batch):
    loss = detector(*batch)
    loss.backward()
    expected = gradients(detector)
    step = GradientStep(detector, grad_clip=0)
    for _ in range(2):  # nothing is left of the step before
        found, norm, stop = step([batch], 4)
        assert found == loss.item() and not stop
        assert all(torch.equal(*pair) for pair in zip(gradients(detector), expected, strict=True))
    assert norm == pytest.approx(sum(g.square().sum().item() for g in expected) ** 0.5)


def test_micro_batches_sum_up_to_the_whole(detector, batch):
    step = GradientStep(detector, grad_clip=0)
    expected, _, _ = step([batch], 4)
    whole = gradients(detector)
    inputs, bonafide = batch
    parts = [
        (Batch(inputs.features[part], inputs.lengths[part], None, None), bonafide[part])
        for part in (slice(0, 1), slice(1, 4))
    ]
    loss, _, _ = step(parts, 4)
    assert loss == pytest.approx(expected)
    torch.testing.assert_close(gradients(detector), whole)


def test_products_are_in_tf32_within_a_step_alone(detector, batch, monkeypatch):
    seen, flags = [], torch.backends.cuda.matmul
    forward = detector.forward
    monkeypatch.setattr(detector, "forward", lambda *x: seen.append(flags.allow_tf32) or forward(*x))
    for precision in ("float32", "tf32", "bfloat16"):
        GradientStep(detector, grad_clip=0, precision=precision)([batch], 4)
        assert not flags.allow_tf32
    assert seen == [False, True, False]


def test_what_torch_compile_cannot_do_is_said_in_a_line(detector, batch, monkeypatch):
    def fail(*_):
        raise TorchDynamoException("backend='inductor' raised:\n  no C compiler")

    monkeypatch.setattr(torch, "compile", lambda detector, dynamic: fail)
    with pytest.raises(AsvtkError, match="training.compile: .*no C compiler.*; set it to false"):
        GradientStep(detector, grad_clip=0, fuse=True)([batch], 4)


def test_gradient_is_clipped_and_its_norm_told_as_it_was(detector, batch):
    _, norm, _ = GradientStep(detector, grad_clip=0)([batch], 4)
    _, told, _ = GradientStep(detector, grad_clip=norm / 10)([batch], 4)
    assert told == norm
    clipped = sum(g.square().sum().item() for g in gradients(detector)) ** 0.5
    assert clipped == pytest.approx(norm / 10, rel=1e-3)


def test_request_to_stop_is_passed_on_and_not_kept(detector, batch):
    step = GradientStep(detector, grad_clip=0)
    assert [step([batch], 4, stop=stop)[2] for stop in (False, True, False)] == [False, True, False]


@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_are_float32_under_autocast(name):
    torch.manual_seed(0)
    loss = LOSSES.build(LOSSES.config({"name": name}, "loss"), 8)
    embedding, bonafide = torch.randn(6, 8), torch.arange(6) % 2 == 0
    with torch.autocast("cpu", torch.bfloat16):
        score, value = loss.score(embedding), loss(embedding, bonafide)
        assert loss.score(embedding.bfloat16()).dtype == torch.float32
    assert torch.equal(score, loss.score(embedding)) and torch.equal(value, loss(embedding, bonafide))
