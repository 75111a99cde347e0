"""Attentive merging: a gate for each layer, from the utterance's own mean."""

import torch

from asvtk.models.attentive_layers import AttentiveLayersConfig, LayerGates
from asvtk.nn.losses import WeightedCrossEntropyConfig
from asvtk.testing import detector_for


def test_it_is_about_as_large_as_published():
    config = AttentiveLayersConfig()
    detector = detector_for(config, WeightedCrossEntropyConfig(), layers=12, width=1024)
    assert 0.85e6 < sum(p.numel() for p in detector.parameters()) < 0.95e6  # published: 936 thousand


def test_gates_follow_the_means_of_real_frames_alone():
    torch.manual_seed(0)
    gates, features = LayerGates(4, 6), torch.randn(2, 4, 9, 6)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    found = gates(features, mask)
    assert found.shape == (2, 4) and ((found > 0) & (found < 1)).all()
    squeezed = torch.nn.functional.silu(features[1, :, :5].mean(1) @ gates.squeeze.weight[0])
    torch.testing.assert_close(found[1], gates.excite(squeezed).sigmoid())
