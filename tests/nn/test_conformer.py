"""Conformer blocks: head tokens see all real tokens, positions are the usual ones, padding is not heard."""

import math

import torch

from asvtk.nn.conformer import ConformerBlock, HeadTokenAttention, sinusoidal_positions


def test_positions_are_sines_and_cosines_at_falling_rates():
    positions = sinusoidal_positions(50, 6)
    for place, pair in ((0, 0), (7, 1), (49, 2)):
        angle = place / 10_000 ** (2 * pair / 6)
        expected = torch.tensor([math.sin(angle), math.cos(angle)])
        torch.testing.assert_close(positions[place, 2 * pair : 2 * pair + 2], expected, rtol=1e-4, atol=1e-5)


def test_class_token_takes_in_head_tokens_and_frames():
    torch.manual_seed(0)
    attention, x = HeadTokenAttention(8, 2).eval(), torch.randn(1, 6, 8)
    mask = torch.ones(1, 6, dtype=torch.bool)
    outputs = []
    attention.output.register_forward_hook(lambda module, args, output: outputs.append(output))
    y = attention(x, mask)
    (tokens,) = outputs
    assert tokens.shape == (1, 6 + 2, 8)
    torch.testing.assert_close(y[:, 1:], tokens[:, 1:6])
    torch.testing.assert_close(y[:, 0], tokens[:, 0] + tokens[:, 1:6].mean(1) + tokens[:, 6:].mean(1))


def test_head_token_is_made_of_its_heads_channels():
    torch.manual_seed(0)
    attention, x = HeadTokenAttention(8, 2).eval(), torch.randn(1, 5, 8)
    seen = []
    attention.query_key_value.register_forward_pre_hook(lambda module, args: seen.append(args[0][:, 5:]))
    mask = torch.ones(1, 5, dtype=torch.bool)
    attention(x, mask)
    attention(torch.cat([x[..., :4], torch.randn(1, 5, 4)], dim=2), mask)
    assert torch.equal(seen[0][:, 0], seen[1][:, 0]) and not torch.allclose(seen[0][:, 1], seen[1][:, 1])


def test_block_hears_no_padding():
    torch.manual_seed(0)
    block, x = ConformerBlock(8, 2, 2, 5, 0.0).eval(), torch.randn(2, 7, 8)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    alone = block(x[1:, :4], mask[1:, :4])
    torch.testing.assert_close(block(x, mask)[1:, :4], alone)
