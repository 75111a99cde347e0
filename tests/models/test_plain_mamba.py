"""Plain Mamba: a stack of mixers and nothing else."""

import pytest
import torch

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.mamba_blocks import BackEndConfig, MixerBlock, TransformerBlock
from asvtk.models.plain_mamba import PlainMamba, PlainMambaConfig

SMALL = dict(d_model=16, blocks=2, d_state=4, d_embedding=12)


def weights(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_auxiliary_loss_is_zero_and_directions_are_summed():
    system = PlainMamba(PlainMambaConfig(**SMALL), 1, 10)
    inputs = Batch(torch.randn(2, 1, 20, 10), torch.tensor([20, 11]), None, None)
    assert system(inputs).auxiliary == 0 and system(inputs).embedding.shape == (2, 12)
    assert [block.mixer.combine for block in system.blocks] == ["sum", "sum"]


def test_block_leaves_its_input_where_its_mixer_says_nothing():
    block, x = MixerBlock(BackEndConfig(**SMALL)).eval(), torch.randn(2, 7, 16)
    for direction in (block.mixer.forwards, block.mixer.backwards):
        direction.out_proj.weight.data.zero_()
    torch.testing.assert_close(block(x, torch.tensor([7, 7])), x)


def test_transformer_blocks_match_those_of_mamba_in_size():
    mamba = weights(MixerBlock(BackEndConfig()))
    transformer = weights(TransformerBlock(BackEndConfig(mixer="transformer")))
    assert 0.8 < transformer / mamba < 1.2


@pytest.mark.parametrize(
    "content, message",
    [
        ({"blocks": 0}, "blocks must be positive"),
        ({"stack": -1}, "stack must be positive"),
        ({"heads": 0}, "heads must be positive"),
        ({"combine": "mean"}, "expected sum or gate or concat"),
        ({"mixer": "transformer", "d_model": 15, "heads": 3}, r"d_model 15 must be a multiple of 2 \* heads"),
    ],
)
def test_impossible_settings_are_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(PlainMambaConfig, content, "c.yaml: model")
