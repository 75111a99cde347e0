"""Nes2Net-X: its published size, and features that it cannot split."""

import pytest
import torch

from asvtk.io.errors import AsvtkError
from asvtk.models.nes2net import Nes2Net, Nes2NetConfig, Res2NetBlock
from asvtk.nn.losses import WeightedCrossEntropyConfig
from asvtk.testing import detector_for


def test_number_of_parameters_is_the_published_one_less_the_idle_norm():
    detector = detector_for(Nes2NetConfig(), WeightedCrossEntropyConfig(), layers=1, width=1024)
    parameters = sum(p.numel() for p in detector.parameters()) + 2 * 128
    assert parameters == 512_039  # 317.9026 million of the released weights are these and XLS-R's 317,390,592
    assert parameters - 1025 == 511_014  # the paper's 511 thousand, with one logit


@pytest.mark.parametrize("d_in", [60, 32])
def test_features_that_cannot_be_split_are_refused(d_in):
    with pytest.raises(
        AsvtkError, match=rf"frames of {d_in} numbers; groups \(8\) must divide that into parts"
    ):
        Nes2Net(Nes2NetConfig(), 1, d_in)


def test_block_is_its_layers_in_order():
    torch.manual_seed(0)
    block = Res2NetBlock(6, Nes2NetConfig(groups=2, scale=3, dilation=1)).eval()
    x, mask = torch.randn(2, 6, 9), torch.ones(2, 9, dtype=torch.bool)
    relu, (conv1, conv2), (norm1, norm2) = torch.relu, block.convolutions, block.norms
    first, second, last = block.expand_norm(relu(block.expand(x)), mask).chunk(3, 1)

    def branch(column, convolution, norm):  # a column by itself
        plain = relu(torch.conv1d(column, convolution.weight[..., 0], convolution.bias, padding=1))
        return norm(plain, mask)

    a = [branch(column, conv1, norm1) for column in (last, first)]
    b = [branch(column, conv2, norm2) for column in (*a, second)]
    merged = torch.cat([sum(a) / 2, sum(b) / 3, last], dim=1)
    y = block.merge_norm(relu(block.merge(merged)), mask)
    torch.testing.assert_close(block(x, mask), y * block.gate(y.mean(2)).unsqueeze(2) + x)
