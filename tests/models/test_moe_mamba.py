"""MoE-Mamba: its settings, and its experts or the lack of them."""

import pytest
import torch

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.moe_mamba import MoeMamba, MoeMambaConfig
from asvtk.nn.moe import MixtureOfExperts

SMALL = dict(d_model=16, blocks=2, d_state=4, d_expert=24, d_embedding=12)
INPUTS = Batch(torch.randn(2, 3, 20, 10), torch.tensor([20, 11]), None, None)


def model(**options):
    torch.manual_seed(0)
    return MoeMamba(MoeMambaConfig(**SMALL, **options), 3, 10)


def test_routed_layers_are_at_hand():
    layers = model(experts=8).moe_layers
    assert len(layers) == 2 and all(isinstance(layer, MixtureOfExperts) for layer in layers)
    assert all(layer.weight_in.shape == (8, 16, 24) for layer in layers)


def test_auxiliary_loss_is_the_weighted_mean_over_blocks():
    system = model(balance_weight=0.5, z_weight=0.25)
    heard = []
    for layer in system.moe_layers:
        layer.register_forward_hook(lambda _, __, output: heard.append(0.5 * output[1] + 0.25 * output[2]))
    torch.testing.assert_close(system(INPUTS).auxiliary, sum(heard) / 2)
    assert len(heard) == 2


def test_one_expert_means_a_dense_network_and_no_router():
    system = model(experts=1, top_k=1)
    assert system.moe_layers == [] and not any("router" in name for name, _ in system.named_parameters())
    assert system(INPUTS).auxiliary == 0


def test_layers_are_weighted_where_there_are_several():
    torch.manual_seed(0)
    single = MoeMamba(MoeMambaConfig(**SMALL), 1, 10)
    assert not any("layer_sum" in name for name, _ in single.named_parameters())
    assert model().features.layer_sum.logits.shape == (3,)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"top_k": 5}, r"top_k 5 must lie between 1 and experts \(4\)"),
        ({"experts": 1}, r"top_k 2 must lie between 1 and experts \(1\)"),
        ({"blocks": 0}, "blocks must be positive"),
        ({"stack": 0}, "stack must be positive"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"expert": 4}, "unknown key 'expert'; did you mean 'experts'"),
        ({"mixer": "lstm"}, "expected mamba or bilstm or transformer"),
        ({"mixer": "transformer", "heads": 5}, r"d_model 144 must be a multiple of 2 \* heads \(10\)"),
    ],
)
def test_impossible_settings_are_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(MoeMambaConfig, content, "c.yaml: model")
