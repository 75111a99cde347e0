"""Cepstra on the device: those of the front-end, whatever stands beside an utterance."""

import numpy as np
import pytest
import torch

from asvtk.frontends.base import Crop
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.nn.cepstra import LinearCepstra


@pytest.mark.parametrize("samples", [320, 479, 480, 5000])
def test_they_are_those_of_the_front_end(samples):
    audio = (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    given, lengths = LinearCepstra()(torch.from_numpy(audio)[None], torch.tensor([samples]))
    wanted = Lfcc(LfccConfig()).compute(audio)
    assert lengths.tolist() == [len(wanted)] and given.shape == (1, len(wanted), 60)
    np.testing.assert_allclose(given[0], wanted, atol=2e-4)


def test_padding_changes_nothing():
    cepstra, audio = LinearCepstra(), 0.1 * torch.randn(2, 4000)
    alone, _ = cepstra(audio[:1, :2000], torch.tensor([2000]))
    audio[0, 2000:] = 0
    beside, lengths = cepstra(audio, torch.tensor([2000, 4000]))
    torch.testing.assert_close(beside[:1, : lengths[0]], alone)


def test_audio_shorter_than_a_window_has_the_front_ends_one_frame():
    audio = torch.zeros(2, 4000)
    audio[0, :100], audio[1] = 0.1 * torch.randn(100), 0.1 * torch.randn(4000)
    given, lengths = LinearCepstra()(audio, torch.tensor([100, 4000]))
    frontend = Lfcc(LfccConfig(crop=Crop(samples=None)))
    wanted = frontend.compute(frontend.prepare(audio[0, :100].numpy()))
    assert lengths[0] == len(wanted) == 1
    np.testing.assert_allclose(given[0, :1], wanted, atol=2e-4)
