"""Routing against its definition, frame by frame."""

import torch

from asvtk.nn.moe import MixtureOfExperts


def layer(**options):
    torch.manual_seed(0)
    return MixtureOfExperts(d_model=8, d_hidden=12, experts=4, **options)


def expert(layer, index, frame):
    hidden = torch.nn.functional.gelu(frame @ layer.weight_in[index] + layer.bias_in[index])
    return hidden @ layer.weight_out[index] + layer.bias_out[index]


def test_each_frame_is_the_gated_sum_of_its_two_best_experts():
    moe, x = layer(top_k=2), torch.randn(2, 5, 8)
    torch.nn.init.normal_(moe.bias_out)
    found, _, _ = moe(x, torch.ones(2, 5, dtype=torch.bool))
    for b in range(2):
        for t in range(5):
            best = moe.router(x[b, t]).topk(2)
            gates = best.values.softmax(0)
            expected = sum(g * expert(moe, int(i), x[b, t]) for g, i in zip(gates, best.indices, strict=True))
            torch.testing.assert_close(found[b, t], expected, rtol=1e-5, atol=1e-6)


def test_losses_know_even_load_and_collapse():
    moe, mask = layer(top_k=1), torch.ones(1, 400, dtype=torch.bool)
    even = 20 * torch.eye(4).repeat(100, 2).unsqueeze(0)
    moe.router.weight.data = torch.eye(4, 8)
    assert abs(moe(even, mask)[1].item() - 1) < 1e-4
    collapsed = even[:, :1].expand(1, 400, 8)
    assert abs(moe(collapsed, mask)[1].item() - 4) < 1e-4
    assert moe(collapsed, mask)[2].item() > 300  # the square of logits near 20


def test_padding_does_not_count_in_the_losses():
    moe, x = layer(top_k=2), torch.randn(2, 6, 8)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    changed = x.clone()
    changed[1, 2:] = 1e3
    for ours, theirs in zip(moe(x, mask)[1:], moe(changed, mask)[1:], strict=True):
        torch.testing.assert_close(ours, theirs)
