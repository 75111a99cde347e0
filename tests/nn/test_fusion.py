"""Fusions against their formulas; what they start with, and what they keep from padding."""

import pytest
import torch

from asvtk.nn.fusion import AttentionFusion, ConcatFusion, GatedFusion, GatedInjection

LENGTHS = torch.tensor([6, 4])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def streams():
    return torch.randn(2, 6, 8), 50 * torch.randn(2, 6, 8)


def normalised(x):
    return x / (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()


def test_injection_adds_a_gated_source():
    injection, (source, target) = GatedInjection(8), streams()
    found = injection(source, target)
    gate = torch.sigmoid(torch.cat([source, target], -1) @ injection.gate.weight.T + injection.gate.bias)
    value = source @ injection.value.weight.T + injection.value.bias
    torch.testing.assert_close(found, target + gate * value)


def test_injections_begin_open_and_turn_without_shrinking():
    injection, source = GatedInjection(8), torch.randn(5, 8)
    injection.gate.weight.data.zero_()
    injection.value.bias.data.zero_()
    injected = injection(source, torch.zeros(5, 8))
    torch.testing.assert_close(injected.norm(dim=1), torch.tensor(1.0).sigmoid() * source.norm(dim=1))


def test_gated_fusion_is_a_mean_weighted_by_its_gate():
    fusion, (a, b) = GatedFusion(8), streams()
    gate = fusion.gate(a, b)
    assert gate.shape == a.shape and 0 < gate.min() < gate.max() < 1
    found = fusion(a, b, LENGTHS)
    torch.testing.assert_close(found, gate * normalised(a) + (1 - gate) * normalised(b))
    fusion.to_gate.bias.data.fill_(100.0)
    torch.testing.assert_close(fusion(a, b, LENGTHS), normalised(a))
    fusion.to_gate.bias.data.fill_(-100.0)
    torch.testing.assert_close(fusion(a, b, LENGTHS), normalised(b))


def test_concatenation_is_linear_in_both():
    fusion, (a, b) = ConcatFusion(8), streams()
    expected = torch.cat([normalised(a), normalised(b)], -1) @ fusion.output.weight.T + fusion.output.bias
    torch.testing.assert_close(fusion(a, b, LENGTHS), expected)


@pytest.mark.parametrize("fusion", [GatedFusion(8), ConcatFusion(8), AttentionFusion(8, 2)])
def test_loudness_of_a_stream_does_not_matter(fusion):
    a, b = streams()
    torch.testing.assert_close(fusion(a, 30 * b, LENGTHS), fusion(a, b, LENGTHS), rtol=1e-4, atol=1e-5)


def test_attention_fusion_asks_all_real_frames_of_the_other_stream():
    fusion, (a, b) = AttentionFusion(8, 2), streams()
    before = fusion(a, b, LENGTHS)
    changed = b.clone()
    changed[:, 3] += torch.randn(2, 8) * 50
    assert ((fusion(a, changed, LENGTHS) - before).abs().amax(-1) > 1e-6).all()
    padding = b.clone()
    padding[1, 4:] = 1e3
    torch.testing.assert_close(fusion(a, padding, LENGTHS), before, rtol=0, atol=0)
