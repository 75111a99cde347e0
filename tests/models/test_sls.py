"""SLS: its published size, and utterances of any length."""

import pytest
import torch
from torch.nn import functional as F

from asvtk.models import Batch
from asvtk.models.sls import Sls, SlsConfig, max_over_parts
from asvtk.nn.losses import WeightedCrossEntropyConfig
from asvtk.testing import detector_for


def test_number_of_parameters_is_the_published_one():
    detector = detector_for(SlsConfig(), WeightedCrossEntropyConfig(), layers=24, width=1024)
    assert sum(p.numel() for p in detector.parameters()) == 23_399_429


def test_of_201_frames_parts_are_the_published_columns():
    x = torch.randn(2, 201, 8)
    expected = F.max_pool1d(x.transpose(1, 2), 3).transpose(1, 2)
    assert torch.equal(max_over_parts(x, torch.tensor([201, 201]), 67), expected)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 13, 29])
def test_parts_are_as_equal_as_can_be_and_of_real_frames(length):
    x = torch.randn(2, 29, 3)
    parts = max_over_parts(x, torch.tensor([29, length]), 5)
    expected = F.adaptive_max_pool1d(x[1:, :length].transpose(1, 2), 5).transpose(1, 2)
    assert torch.equal(parts[1:], expected)


def test_a_layer_that_is_gated_out_has_no_say():
    model = Sls(SlsConfig(columns=2, d_embedding=4), 2, 6).eval()
    torch.nn.init.zeros_(model.gate.weight)
    features, lengths = torch.randn(1, 2, 9, 6), torch.tensor([9])
    with torch.no_grad():
        model.gate.weight[0, 0] = 1e4  # the gate follows the first number's mean
        features[:, 0, :, 0], features[:, 1, :, 0] = 1.0, -1.0
        before = model(Batch(features, lengths, None, None)).embedding
        features[:, 1, :, 1:] += 5 * torch.randn(9, 5)
        torch.testing.assert_close(model(Batch(features, lengths, None, None)).embedding, before)
        features[:, 0, :, 1:] += 5 * torch.randn(9, 5)
        assert not torch.allclose(model(Batch(features, lengths, None, None)).embedding, before)
