"""Routing against its definition, frame by frame."""

import math

import pytest
import torch

from asvtk.nn.moe import MixtureOfExperts, record_routing


def layer(**options):
    torch.manual_seed(0)
    return MixtureOfExperts(d_model=8, d_hidden=12, experts=4, **options)


def expert(layer, index, frame):
    hidden = torch.nn.functional.gelu(frame @ layer.weight_in[index] + layer.bias_in[index])
    return hidden @ layer.weight_out[index] + layer.bias_out[index]


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_each_frame_is_the_gated_sum_of_its_best_experts(top_k):
    moe, x = layer(top_k=top_k), torch.randn(2, 5, 8)
    torch.nn.init.normal_(moe.bias_out)
    torch.nn.init.normal_(moe.bias_in)
    found, _, _ = moe(x, torch.ones(2, 5, dtype=torch.bool))
    for b in range(2):
        for t in range(5):
            best = moe.router(x[b, t]).topk(top_k)
            gates = best.values.softmax(0)
            expected = sum(g * expert(moe, int(i), x[b, t]) for g, i in zip(gates, best.indices, strict=True))
            torch.testing.assert_close(found[b, t], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("top_k", [0, 5])
def test_more_choices_than_experts_are_refused(top_k):
    with pytest.raises(ValueError, match=f"top_k {top_k} must lie between 1 and experts .4."):
        layer(top_k=top_k)


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


def test_statistics_are_those_of_the_real_frames():
    moe, x = layer(top_k=2), torch.randn(2, 6, 8)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    found = moe.statistics(x, mask)
    for row, frames in enumerate((6, 2)):
        logits = moe.router(x[row, :frames]).detach()
        choices = [int(i) for frame in logits for i in frame.topk(2).indices]
        load = torch.tensor([choices.count(i) / len(choices) for i in range(4)])
        probabilities = logits.softmax(-1)
        entropy = torch.distributions.Categorical(probabilities).entropy().mean()
        torch.testing.assert_close(found.load[row], load)
        torch.testing.assert_close(found.entropy[row], entropy)
        torch.testing.assert_close(found.confidence[row], probabilities.amax(-1).mean())
    assert not found.entropy.requires_grad


def test_statistics_know_collapse_and_indecision():
    moe, mask = layer(top_k=1), torch.ones(1, 10, dtype=torch.bool)
    moe.router.weight.data = torch.eye(4, 8)
    certain = moe.statistics(100 * torch.eye(8)[2].expand(1, 10, 8), mask)
    torch.testing.assert_close(certain.load, torch.eye(4)[2:3])
    assert certain.entropy.item() == pytest.approx(0, abs=1e-6)
    assert certain.confidence.item() == pytest.approx(1)
    undecided = moe.statistics(torch.zeros(1, 10, 8), mask)
    assert undecided.entropy.item() == pytest.approx(math.log(4))
    assert undecided.confidence.item() == pytest.approx(1 / 4)


def test_routing_is_recorded_in_its_context_alone():
    model = torch.nn.ModuleDict({"first": layer(), "norm": torch.nn.LayerNorm(8), "last": layer(top_k=4)})
    x, mask = torch.randn(3, 6, 8), torch.ones(3, 6, dtype=torch.bool)
    with record_routing(model) as records:
        model["first"](x, mask)
        model["first"](x[:1], mask[:1])
        model["last"](x, mask)
    model["last"](x, mask)
    assert {name: len(batches) for name, batches in records.items()} == {"first": 2, "last": 1}
    torch.testing.assert_close(records["first"][0], model["first"].statistics(x, mask))
    torch.testing.assert_close(records["last"][0].load, torch.full((3, 4), 1 / 4))
