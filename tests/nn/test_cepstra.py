"""Cepstra of batches: what an utterance gets, whatever stands beside it."""

import torch

from asvtk.nn.cepstra import LinearCepstra


def test_padding_changes_nothing():
    cepstra, audio = LinearCepstra(), 0.1 * torch.randn(2, 4000)
    alone = cepstra(audio[:1, :2000])
    audio[0, 2000:] = 0
    beside = cepstra(audio, torch.tensor([2000, 4000]))
    torch.testing.assert_close(beside[:1, : alone.shape[1]], alone)
    assert cepstra.frames(torch.tensor([2000, 4000])).tolist() == [alone.shape[1], beside.shape[1]]


def test_audio_shorter_than_a_window_has_one_frame_of_its_own():
    cepstra, audio = LinearCepstra(), torch.zeros(2, 4000)
    audio[0, :100], audio[1] = 0.1 * torch.randn(100), 0.1 * torch.randn(4000)
    alone, beside = cepstra(audio[:1, :100]), cepstra(audio, torch.tensor([100, 4000]))
    assert cepstra.frames(100) == 1
    torch.testing.assert_close(beside[:1, :1], alone)
