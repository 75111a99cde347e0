"""Fixed sinc filterbank of AASIST and RawNet2, at bands evenly spaced in mel.

Source: Jung et al., "AASIST", ICASSP 2022 (arXiv 2110.01200), section 2.1, after Ravanelli and
Bengio, "Speaker recognition from raw waveform with SincNet", SLT 2018, equation 4.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.exporting import is_exporting

__all__ = ["PooledSincBank", "mel_band_edges", "sinc_bank"]


def mel_band_edges(filters: int, sample_rate: int) -> np.ndarray:
    """Edges of adjoining bands from 0 Hz to half the sample rate: Hz, float64 (filters + 1,)."""
    highest = 2595 * math.log10(1 + sample_rate / 2 / 700)
    return 700 * (10 ** (np.linspace(0, highest, filters + 1) / 2595) - 1)


def sinc_bank(edges, taps: int, sample_rate: int) -> Tensor:
    """Impulse responses of ideal band-pass filters, cut off by a Hamming window.

    Args:
        edges: band edges in Hz, (filters + 1,): filter i passes edges[i] ... edges[i + 1].
        taps: length of the responses, odd.
        sample_rate: Hz.

    Returns:
        float32 (filters, taps), symmetric about the middle tap.
    """
    n = np.arange(taps) - taps // 2
    width = 2 * np.asarray(edges)[:, None] / sample_rate
    low_pass = width * np.sinc(width * n)  # of each edge; numpy's sinc is sin(pi x) / (pi x)
    return torch.from_numpy(np.diff(low_pass, axis=0) * np.hamming(taps)).float()


class PooledSincBank(nn.Module):
    """Pooled sinc filterbank: audio -> magnitudes of its outputs, each the largest of 3 filters by 3 samples.

    The filters are applied and pooled in one product: its rows are every filter at the three delays
    that one pooling window spans, its columns the windows. That is exactly convolution (valid, stride
    1), magnitude and 3 x 3 max-pooling, without the image that is nine times as large. Filters and
    samples beyond the last whole window are dropped, as pooling does: of 70 filters, the last one.

    Nothing here is learned or saved, and no gradient flows to the audio.

    Args:
        filters, taps: size of the bank.
        max_masked: in training a random run of neighbouring filters, fewer than this many, is
            silenced for the whole batch; 0 or 1: never.
        sample_rate: Hz.
    """

    POOL = 3

    def __init__(self, filters: int, taps: int, max_masked: int, sample_rate: int):
        super().__init__()
        self.filters, self.taps, self.max_masked = filters, taps, max_masked
        self.rows = filters // self.POOL  # of the pooled image
        bank = sinc_bank(mel_band_edges(filters, sample_rate), taps, sample_rate)[: self.rows * self.POOL]
        delayed = torch.stack([F.pad(bank, (delay, self.POOL - 1 - delay)) for delay in range(self.POOL)], 1)
        self.register_buffer("bank", delayed, persistent=False)  # (filters, delays, taps + 2)

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """(batch, samples) -> (batch, filters // 3, (samples - taps + 1) // 3)."""
        bank = self.bank
        if self.training and self.max_masked > 1:
            bank = bank * self._draw_kept()[: len(bank), None, None]
        if is_exporting():  # ``unfold`` would be a table of all indices
            filtered = F.conv1d(audio.unsqueeze(1), bank.flatten(0, 1).unsqueeze(1), stride=self.POOL)
        else:
            windows = audio.to(bank.dtype).unfold(-1, bank.shape[-1], self.POOL)  # (batch, columns, taps + 2)
            filtered = torch.matmul(bank.flatten(0, 1), windows.transpose(1, 2))
        return filtered.abs_().unflatten(1, (self.rows, self.POOL**2)).amax(2)

    def _draw_kept(self) -> Tensor:
        """0 for filters that are silenced, else 1; drawn where the filters are, so nothing waits for it."""
        draw = torch.rand(2, device=self.bank.device)
        masked = (draw[0] * self.max_masked).floor()
        first = (draw[1] * (self.filters - masked + 1)).floor()
        index = torch.arange(self.filters, device=self.bank.device)
        return ((index < first) | (index >= first + masked)).to(self.bank.dtype)
