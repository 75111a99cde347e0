"""OC-Softmax by hand."""

import math

import pytest
import torch

from asvtk.nn.losses import OcSoftmax, OcSoftmaxConfig


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
