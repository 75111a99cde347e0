"""AASIST on features: its published size, and utterances of any length."""

import pytest
import torch
from torch.nn import functional as F

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.ssl_aasist import ResidualBlock, SslAasistConfig
from asvtk.nn.losses import WeightedCrossEntropyConfig
from asvtk.testing import detector_for

SMALL = SslAasistConfig(channels=(4, 4, 6), d_projection=16, d_graph=8, d_stack=8)


def test_number_of_parameters_is_the_published_one_less_the_idle_ones():
    detector = detector_for(SslAasistConfig(), WeightedCrossEntropyConfig(), layers=1, width=1024)
    thrown_away = 2 * sum([32, 32, 64, 64, 64])  # norms whose output nothing reads
    behind = {"norm": 2 * 32 + 4 * 64 + 64, "graph norm": 4 * 64 + 8 * 32, "softmax": 64 + 128}
    beside = 32 + 64  # of shortcuts, which are added to a convolution that has one
    idle = thrown_away + sum(behind.values()) + beside
    assert sum(p.numel() for p in detector.parameters()) + idle == 447_242


def test_block_is_its_layers_in_order():
    torch.manual_seed(0)
    block, x = ResidualBlock(3, 5).eval(), torch.randn(2, 3, 7, 11)
    hidden = F.selu(block.norm(block.conv1(x)))
    assert hidden.shape == (2, 5, 8, 11)
    torch.testing.assert_close(block(x), block.conv2(hidden) + block.shortcut(x))


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 30, 31])
def test_an_incomplete_group_of_frames_counts_as_a_moment(frames):
    model = detector_for(SMALL, layers=1).model.eval()
    seen = []
    model.temporal_attention.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    embedding = model(Batch(torch.randn(2, 1, frames, 10), torch.tensor([frames] * 2), None, None)).embedding
    assert embedding.isfinite().all()
    assert seen == [(2, -(-frames // 3), 6)]


def test_impossible_settings_are_refused():
    with pytest.raises(AsvtkError, match="d_projection must be 3 or more"):
        build(SslAasistConfig, {"d_projection": 2}, "c.yaml: model")
    with pytest.raises(AsvtkError, match=r"temporal_ratio must lie in \(0, 1\]"):
        build(SslAasistConfig, {"temporal_ratio": 1.5}, "c.yaml: model")
