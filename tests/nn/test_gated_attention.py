"""Attention with WavLM's position bias, against transformers and against its kernel's twin."""

import pytest
import torch
import transformers
from tiny_models import LARGE, SMALL

from asvtk.nn.gated_attention import gated_attention, position_bias


def test_bias_is_that_of_transformers():
    attention = (
        transformers.WavLMModel(transformers.WavLMConfig(**SMALL, **LARGE)).encoder.layers[0].attention
    )
    attention.num_buckets, attention.max_distance = 32, 60
    attention.rel_attn_embed = torch.nn.Embedding(32, 4)
    for frames in (1, 7, 200):
        found = position_bias(attention.rel_attn_embed.weight, 60, frames, torch.float32)
        torch.testing.assert_close(found, attention.compute_bias(frames, frames))


def inputs(frames, heads=2, width=16, batch=3, gated=True, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(frames)
    columns = 3 * heads * width + (2 * heads if gated else 0)
    projected = torch.randn(batch, frames, columns, generator=generator).to(device, dtype)
    scale = torch.rand(heads, generator=generator).to(device) if gated else None
    bias = torch.randn(32, heads, generator=generator).to(device)
    bias = position_bias(bias, 40, frames, dtype) if gated else None
    return projected, heads, scale, bias


@pytest.mark.parametrize("gated", [True, False])
def test_attention_follows_the_definition(gated):
    projected, heads, scale, bias = inputs(9, gated=gated)
    lengths = torch.tensor([9, 4, 1])
    found = gated_attention(projected, heads, scale, bias, lengths)
    for row, length in enumerate(lengths.tolist()):
        for head in range(heads):
            q, k, v = (
                projected[row, :, start + 16 * head : start + 16 * (head + 1)].double()
                for start in (0, 32, 64)
            )
            scores = q @ k.T / 4
            if gated:
                a, b = projected[row, :, 96 + head].double(), projected[row, :, 98 + head].double()
                gate = a.sigmoid() * (scale[head].double() * b.sigmoid() - 1) + 2
                scores = scores + gate.unsqueeze(1) * bias[head].double()
            expected = scores[:, :length].softmax(-1) @ v[:length]
            torch.testing.assert_close(
                found[row, :, 16 * head : 16 * (head + 1)], expected.float(), rtol=1e-4, atol=1e-5
            )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs a GPU")
@pytest.mark.parametrize("frames", [1, 31, 64, 201, 500])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("ragged", [True, False])
def test_kernel_gives_what_its_plain_twin_gives(frames, gated, ragged):
    from asvtk.nn.kernels.attention import attend

    projected, heads, scale, bias = inputs(frames, 4, 64, gated=gated, dtype=torch.bfloat16, device="cuda")
    lengths = torch.tensor([frames, max(1, frames // 2), 1], device="cuda") if ragged else None
    wide = None if bias is None else bias.float()
    expected = gated_attention(projected.float(), heads, scale, wide, lengths)
    torch.testing.assert_close(
        attend(projected, heads, scale, bias, lengths).float(), expected, rtol=0.02, atol=0.02
    )
