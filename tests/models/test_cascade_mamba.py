"""Cascade-Mamba: three layers, low into mid into high."""

import pytest
import torch

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.cascade_mamba import CascadeMamba, CascadeMambaConfig

SMALL = dict(d_model=16, blocks=2, d_state=4, d_embedding=12)


def model(**options):
    torch.manual_seed(0)
    return CascadeMamba(CascadeMambaConfig(**SMALL, **options), 3, 10)


@pytest.mark.parametrize("layers", [0, 1, 2, 25])
def test_other_than_three_layers_are_refused(layers):
    with pytest.raises(
        AsvtkError,
        match=rf"expected exactly 3 layers \(low, mid, high\), found {layers}; set frontend.layers",
    ):
        CascadeMamba(CascadeMambaConfig(**SMALL), layers, 10)


def test_low_is_injected_into_mid_and_what_comes_of_it_into_high():
    fusion = model().neck
    low, mid, high = torch.randn(3, 2, 7, 16)

    def inject(injection, source, target):
        gate = injection.gate(torch.cat([source, target], dim=-1)).sigmoid()
        return target + gate * injection.value(source)

    expected = inject(fusion.into_high, inject(fusion.into_mid, low, mid), high)
    torch.testing.assert_close(fusion(low, mid, high), expected)


def test_gradient_of_the_low_layer_does_not_vanish():
    """As it did in the reports' cascade; at the start it is about half that of the high layer."""
    system = model()
    features = torch.randn(4, 3, 30, 10)
    inputs = Batch(features, torch.tensor([30, 30, 21, 30]), None, None)
    embedding = system(inputs).embedding
    (embedding * torch.randn_like(embedding)).sum().backward()
    low, mid, high = (projection.weight.grad.norm() for projection in system.projections)
    assert low > 0.25 * high and mid > 0.25 * high


def test_directions_are_gated_unless_asked_otherwise():
    assert {block.mixer.combine for block in model().blocks} == {"gate"}
    assert {block.mixer.combine for block in model(combine="sum").blocks} == {"sum"}


def test_unknown_neck_is_refused():
    with pytest.raises(AsvtkError, match="expected cascade or concat"):
        build(CascadeMambaConfig, {"fusion": "sum"}, "c.yaml: model")
