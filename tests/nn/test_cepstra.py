"""Cepstra of batches: what an utterance gets, whatever stands beside it."""

import torch

from asvtk.frontends.lfcc import Lfcc, LfccConfig


def test_padding_changes_nothing():
    lfcc, audio = Lfcc(LfccConfig()), 0.1 * torch.randn(2, 4000)
    alone = lfcc.lower(audio[:1, :2000], None)[0]
    audio[0, 2000:] = 0
    beside = lfcc.lower(audio, torch.tensor([2000, 4000]))[0]
    torch.testing.assert_close(beside[:1, : alone.shape[1]], alone)
    assert lfcc.frames(torch.tensor([2000, 4000])).tolist() == [alone.shape[1], beside.shape[1]]


def test_audio_shorter_than_a_window_has_one_frame_of_its_own():
    lfcc, audio = Lfcc(LfccConfig()), torch.zeros(2, 4000)
    audio[0, :100], audio[1] = 0.1 * torch.randn(100), 0.1 * torch.randn(4000)
    alone, beside = (lfcc.lower(*x)[0] for x in ((audio[:1, :100], None), (audio, torch.tensor([100, 4000]))))
    assert lfcc.frames(100) == 1
    torch.testing.assert_close(beside[:1, :1], alone)
