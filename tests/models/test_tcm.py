"""Conformer with temporal-channel modelling: its published size, and what its tokens see."""

import pytest

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models.tcm import TcmConfig
from asvtk.nn.losses import WeightedCrossEntropyConfig
from asvtk.testing import detector_for


def test_number_of_parameters_is_the_published_one_less_the_idle_biases():
    detector = detector_for(TcmConfig(), WeightedCrossEntropyConfig(), layers=1, width=1024)
    idle = 4 * 288  # of the convolutions over time, before a batch norm
    assert round(sum(p.numel() for p in detector.parameters()) + idle, -3) == 2_383_000


@pytest.mark.parametrize(
    "content, message",
    [
        ({"d_model": 10}, r"d_model 10 must be a multiple of heads \(4\)"),
        ({"taps": 30}, "taps 30: expected an odd number"),
        ({"blocks": 0}, "blocks, heads, expand and taps must be positive"),
        ({"dropout": 1.0}, "dropout must lie in"),
    ],
)
def test_impossible_settings_are_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(TcmConfig, content, "c.yaml: model")
