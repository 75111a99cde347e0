"""The losses by hand."""

import math

import pytest
import torch

from asvtk.nn.config import LOSSES
from asvtk.nn.losses import (
    OcSoftmax,
    OcSoftmaxConfig,
    WeightedCrossEntropy,
    WeightedCrossEntropyConfig,
)


def test_loss_follows_the_equation_and_needs_no_label_to_score():
    loss = OcSoftmax(OcSoftmaxConfig(r_real=0.9, r_fake=0.2, alpha=20), 2)
    loss.centre.data = torch.tensor([3.0, 0.0])
    embedding = torch.tensor([[1.0, 1.0], [0.0, 5.0]])
    cosines = [math.sqrt(0.5), 0.0]
    torch.testing.assert_close(loss.score(embedding), torch.tensor(cosines), atol=1e-6, rtol=0)
    expected = [math.log1p(math.exp(20 * (0.9 - cosines[0]))), math.log1p(math.exp(20 * (cosines[1] - 0.2)))]
    found = loss(embedding, torch.tensor([True, False]))
    assert found.item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_bona_fide_is_pushed_towards_the_centre():
    loss, embedding = OcSoftmax(OcSoftmaxConfig(), 4), torch.randn(2, 4, requires_grad=True)
    loss(embedding, torch.tensor([True, False])).backward()
    before = loss.score(embedding)
    after = loss.score(embedding - 0.1 * embedding.grad)
    assert after[0] > before[0] and after[1] <= before[1]


def test_centre_is_part_of_the_state():
    assert set(OcSoftmax(OcSoftmaxConfig(), 4).state_dict()) == {"centre"}


def test_margins_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="r_fake < r_real"):
        OcSoftmaxConfig(r_real=0.2, r_fake=0.9)


def test_weighted_cross_entropy_follows_the_definition():
    loss = WeightedCrossEntropy(WeightedCrossEntropyConfig(bonafide_weight=0.9, spoof_weight=0.1), 2)
    loss.classifier.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    loss.classifier.bias.data = torch.tensor([0.5, -0.5])
    embedding = torch.tensor([[1.0, 1.0], [2.0, 0.0]])  # logits (1.5, 1.5) and (2.5, -0.5)
    expected = (0.9 * math.log(2) + 0.1 * math.log1p(math.exp(-3))) / (0.9 + 0.1)
    assert loss(embedding, torch.tensor([True, False])).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(loss.score(embedding), torch.tensor([0.0, -3.0]))
    habit = WeightedCrossEntropy(WeightedCrossEntropyConfig(score="bonafide_logit"), 2)
    habit.load_state_dict(loss.state_dict())
    torch.testing.assert_close(habit.score(embedding), torch.tensor([1.5, -0.5]))


@pytest.mark.parametrize("name", list(LOSSES))
def test_higher_is_bona_fide_under_every_loss(name):
    torch.manual_seed(0)
    loss = LOSSES.build(LOSSES.config({"name": name}, "loss"), 6)
    embedding = torch.randn(4, 6, requires_grad=True)
    bonafide = torch.tensor([True, True, False, False])
    optimiser = torch.optim.Adam([embedding, *loss.parameters()], 0.1)
    for _ in range(50):
        optimiser.zero_grad()
        loss(embedding, bonafide).backward()
        optimiser.step()
    scores = loss.score(embedding)
    assert scores[bonafide].min() > scores[~bonafide].max()


@pytest.mark.parametrize(
    "config, setting",
    [(WeightedCrossEntropyConfig, "spoof_weight"), (OcSoftmaxConfig, "alpha")],
)
def test_impossible_settings_are_refused(config, setting):
    with pytest.raises(ValueError, match=setting):
        config(**{setting: 0.0})
