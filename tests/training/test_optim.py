"""Groups of parameters and their rates."""

import pytest

from asvtk.io.config import build, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.testing import detector_for
from asvtk.training.config import TrainingConfig
from asvtk.training.optim import build_optimiser, learning_rate, set_rates


@pytest.fixture
def detector():
    return detector_for(MoeMambaConfig(d_model=16, blocks=2), layers=1, width=4)


def with_rates(**rates):
    return build(TrainingConfig, {"lr": 1e-3, "rates": rates}, "training")


def test_matrices_alone_are_decayed(detector):
    decayed, spared = build_optimiser(detector, TrainingConfig()).param_groups
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    assert decayed["weight_decay"] > 0 == spared["weight_decay"]
    spared = {names[id(parameter)] for parameter in spared["params"]}
    assert {"loss.centre", "model.blocks.0.mixer.forwards.A_log", "model.blocks.0.mixer.forwards.D"} <= spared
    assert "model.features.projection.weight" not in spared


def test_learning_rate_rises_then_falls():
    settings = TrainingConfig(epochs=10, lr=1.0, lr_end=0.1, warmup_epochs=2)
    rates = [learning_rate(settings, epoch) for epoch in (0, 1, 2, 6, 10)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.55, 0.1])


def test_parts_have_rates_of_their_own_and_the_longest_prefix_counts(detector):
    settings = with_rates(**{"model.blocks": 1e-4, "model.blocks.1": "1e-6"})
    optimiser = build_optimiser(detector, settings)
    set_rates(optimiser, learning_rate(settings, 1.0) / 2)  # such as after a rollback
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in detector.named_parameters():
        expected = 1e-6 if "blocks.1" in name else 1e-4 if "blocks" in name else 1e-3
        assert rates[id(parameter)] == pytest.approx(expected / 2)
    assert len(rates) == len(list(detector.parameters()))


def test_rates_stand_in_the_resolved_config():
    settings = with_rates(model=1e-4)
    assert to_mapping(settings)["rates"] == {"model": 1e-4}
    assert build(TrainingConfig, to_mapping(settings), "training") == settings


def test_prefix_of_nothing_is_refused(detector):
    with pytest.raises(AsvtkError, match="begins with 'ssl'; they begin with loss.centre, model.blocks"):
        build_optimiser(detector, with_rates(ssl=1e-6))


@pytest.mark.parametrize("rate", ["fast", -1.0, float("inf")])
def test_rate_that_is_none_is_refused(rate):
    with pytest.raises(AsvtkError, match=r"training.rates.model: .* does not fit"):
        with_rates(model=rate)
