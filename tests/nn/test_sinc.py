"""The filters against their formula, the pooled product against convolution and pooling."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from asvtk.nn.sinc import PooledSincBank, mel_band_edges, sinc_bank


def audio(samples=4000, batch=2):
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(0))


def test_band_edges_are_evenly_spaced_in_mel_up_to_half_the_sample_rate():
    edges = mel_band_edges(70, 16000)
    assert edges.shape == (71,) and edges[0] == 0 and abs(edges[-1] - 8000) < 1e-6
    np.testing.assert_allclose(np.diff(2595 * np.log10(1 + edges / 700), n=2), 0, atol=1e-9)


def test_taps_are_those_of_the_formula():
    edges, bank = mel_band_edges(7, 16000), sinc_bank(mel_band_edges(7, 16000), 33, 16000)
    for i in range(7):
        low, high = edges[i], edges[i + 1]
        for n in range(-16, 17):
            hamming = 0.54 + 0.46 * math.cos(2 * math.pi * n / 32)
            # the ideal band-pass filter: the integral of cos(2 pi f n) over the band and its mirror image
            if n == 0:
                ideal = 2 * (high - low) / 16000
            else:
                ideal = (
                    math.sin(2 * math.pi * high * n / 16000) - math.sin(2 * math.pi * low * n / 16000)
                ) / (math.pi * n)
            assert abs(bank[i, n + 16].item() - ideal * hamming) < 1e-7


def test_each_filter_passes_its_band_and_stops_the_others():
    bank = sinc_bank([500, 1500, 3000, 6000], 129, 16000).double()
    gain = torch.fft.rfft(bank, 16000).abs()  # one bin per Hz
    for row, centre in enumerate([1000, 2250, 4500]):
        assert abs(gain[row, centre] - 1) < 0.01
        others = [frequency for frequency in (1000, 2250, 4500) if frequency != centre]
        assert gain[row, others].max() < 0.01


@pytest.mark.parametrize("filters, samples", [(70, 4000), (9, 1001), (8, 1002), (3, 131)])
def test_one_product_is_convolution_magnitude_and_pooling(filters, samples):
    module, x = PooledSincBank(filters, 129, 0, 16000), audio(samples)
    bank = sinc_bank(mel_band_edges(filters, 16000), 129, 16000).double()
    image = F.conv1d(x.double().unsqueeze(1), bank.unsqueeze(1)).abs()
    expected = F.max_pool2d(image.unsqueeze(1), 3).squeeze(1)
    found = module(x)
    assert found.shape == expected.shape == (2, filters // 3, (samples - 128) // 3)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_training_silences_a_run_of_fewer_filters_than_the_limit():
    module = PooledSincBank(70, 129, 20, 16000).train()
    torch.manual_seed(0)
    kept = torch.stack([module._draw_kept() for _ in range(3000)]).bool()
    silenced = (~kept).sum(1)
    assert silenced.min() == 0 and silenced.max() == 19
    begins = (kept[:, :-1] & ~kept[:, 1:]).sum(1) + (~kept[:, 0]).int()
    assert begins.max() == 1  # contiguous
    assert (~kept).any(0).all()  # every filter's turn comes, the first and the last too


def test_silenced_filters_give_zero_and_only_in_training(monkeypatch):
    module, x = PooledSincBank(70, 129, 20, 16000), audio()
    whole = module.eval()(x)
    kept = torch.ones(70)
    kept[30:43] = 0  # rows 10 ... 13 of the pooled image, and one filter of row 14
    monkeypatch.setattr(module, "_draw_kept", lambda: kept)
    assert torch.equal(module(x), whole)
    masked = module.train()(x)
    assert masked[:, 10:14].abs().max() == 0 and (masked[:, 14] <= whole[:, 14]).all()
    assert torch.equal(masked[:, :10], whole[:, :10]) and torch.equal(masked[:, 15:], whole[:, 15:])


def test_nothing_is_learned_or_saved():
    module = PooledSincBank(70, 129, 20, 16000)
    assert not list(module.parameters()) and not module.state_dict()
    assert not module(audio().requires_grad_()).requires_grad
