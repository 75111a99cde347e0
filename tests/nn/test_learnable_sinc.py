"""The learnable filters: proper whatever is learned, and the band-pass filters they claim to be."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asvtk.nn.learnable_sinc import LearnableSincBank

RATE = 16_000
anything = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-20, 20, width=32)


def bank(filters=70, taps=129, stride=10, **options):
    return LearnableSincBank(filters, taps, stride, RATE, **options)


def tone(frequency, amplitude=0.1, samples=4000, phase=0.3):
    return amplitude * torch.cos(2 * torch.pi * frequency * torch.arange(samples) / RATE + phase)


def test_bands_begin_evenly_spaced_in_mel():
    low, high = (cutoff.detach().numpy() for cutoff in bank().cutoffs())
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 71)
    edges = 700 * (10 ** (mel / 2595) - 1)
    np.testing.assert_allclose(low[1:], edges[1:-1], atol=0.1)
    np.testing.assert_allclose(high[1:-1], edges[2:-1], atol=0.1)
    assert 1 < low[0] <= 20.1 and 7979.9 <= high[-1] < 7999


@pytest.mark.parametrize("filters", [1, 3, 300])
def test_any_number_of_filters_begins_with_proper_bands(filters):
    low, high = bank(filters).cutoffs()
    assert (low > 0).all() and (high - low > 10).all() and (high < 8000).all()


@given(anything, anything, st.sampled_from([1.0, 10.0, 50.0, 3999.0]))
def test_every_value_of_the_parameters_is_a_proper_filter(width, place, narrowest):
    one = bank(1, min_width=narrowest)
    one.width.data.fill_(width)
    one.place.data.fill_(place)
    low, high = one.cutoffs()
    assert 0 < low < high < 8000
    assert high - low >= narrowest * (1 - 1e-4)
    found = one(torch.stack([torch.zeros(400), tone(1000, samples=400)]))
    found.sum().backward()
    assert found.isfinite().all() and one.width.grad.isfinite() and one.place.grad.isfinite()


def test_impulse_responses_are_the_windowed_ideal_band_pass_and_its_twin():
    ours = bank(5, taps=129)
    low, high = (cutoff.detach().double().numpy()[:, None] for cutoff in ours.cutoffs())
    n = np.arange(-64, 65)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(129) / 128)
    ideal = 2 * high / RATE * np.sinc(2 * high * n / RATE) - 2 * low / RATE * np.sinc(2 * low * n / RATE)
    apart = np.where(n == 0, 1, n)
    twin = (np.cos(2 * np.pi * low * n / RATE) - np.cos(2 * np.pi * high * n / RATE)) / (np.pi * apart)
    found = ours.kernels().detach().numpy()
    np.testing.assert_allclose(found[:, 0], ideal * window, atol=1e-5)
    np.testing.assert_allclose(found[:, 1], twin * window, atol=1e-5)
    np.testing.assert_array_equal(found[:, 0], found[:, 0, ::-1])
    np.testing.assert_array_equal(found[:, 1], -found[:, 1, ::-1])


def test_frequencies_inside_the_band_pass_and_others_do_not():
    ours = bank(8, taps=257)
    transition = 3.3 * RATE / 257  # width of the main lobe of a Hamming window: Hz
    spectra = np.abs(np.fft.rfft(ours.kernels().detach().numpy(), 4096))  # (filters, 2, frequencies)
    frequencies = np.fft.rfftfreq(4096, 1 / RATE)
    low, high = (cutoff.detach().numpy() for cutoff in ours.cutoffs())
    compared = 0
    for spectrum, f1, f2 in zip(spectra, low, high, strict=True):
        inside = (frequencies > f1 + transition) & (frequencies < f2 - transition)
        outside = (frequencies < f1 - transition) | (frequencies > f2 + transition)
        np.testing.assert_allclose(spectrum[:, inside], 1, atol=0.01)
        assert spectrum[:, outside].max() < 0.01
        compared += inside.sum()
    assert compared > 500


def test_output_is_the_power_of_a_tone_at_any_moment():
    ours = bank(5, taps=129)
    low, high = (cutoff[3].item() for cutoff in ours.cutoffs())
    audio = tone((low + high) / 2, amplitude=0.25)
    found = ours(audio.unsqueeze(0))[0, 3]
    assert len(found) == (4000 - 129) // 10 + 1
    torch.testing.assert_close(found.exp().sqrt(), torch.full_like(found, 0.25), rtol=0.01, atol=0)


def test_gradient_moves_a_band_onto_a_tone():
    one = bank(1, taps=129)
    one.width.data.fill_(-3.0)  # 390 Hz
    audio = tone(3600).unsqueeze(0)
    optimiser = torch.optim.Adam(one.parameters(), 0.05)
    assert one.cutoffs()[0] > 3700
    for _ in range(40):
        optimiser.zero_grad()
        (-one(audio).mean()).backward()
        optimiser.step()
    low, high = one.cutoffs()
    assert low < 3600 < high


@pytest.mark.parametrize("parameter", ["width", "place"])
def test_gradient_is_the_slope(parameter):
    ours, audio = bank(4), torch.randn(2, 600)
    weights = torch.randn(2, 4, 48)
    (ours(audio).exp() * weights).sum().backward()
    value, step = getattr(ours, parameter), 1e-3
    for index in range(4):
        powers = []
        for sign in (1, -1):
            with torch.no_grad():
                value[index] += sign * step
                powers.append(ours(audio).exp().double())
                value[index] -= sign * step
        slope = ((powers[0] - powers[1]) * weights).sum() / (2 * step)
        np.testing.assert_allclose(value.grad[index], slope, rtol=0.01, atol=0.01)


def test_weak_high_bands_survive_beside_strong_low_ones_under_autocast():
    audio = (tone(200, 0.5) + tone(7000, 1e-4)).unsqueeze(0)
    ours = bank(70)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(audio)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ours(audio), rtol=0, atol=0)


def test_even_lengths_are_refused():
    with pytest.raises(ValueError, match="taps 128 must be odd"):
        bank(taps=128)
