"""Learnable sinc filterbank: band-pass filters whose centres and bandwidths are learned.

Source: Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet", SLT 2018, equations
4-7. Two things differ. There the learned numbers are cut-off frequencies, which training can push
below zero, past each other or beyond half the sample rate; here every value of the learned numbers
means a proper filter. And each filter comes with its quadrature twin (the same band, a quarter of a
period later), as in Zeghidour et al., "LEAF", ICLR 2021: both together give the amplitude of the band
at any moment, without the ripple of a rectified wave, so that the filters need to be computed only
where the amplitude is wanted.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.exporting import is_exporting
from asvtk.nn.sinc import mel_band_edges

__all__ = ["LearnableSincBank"]

MARGIN = 1.0  # Hz that the bands keep from 0 and from half the sample rate, even where rounding bites
FLOOR = 1e-10  # added to powers: the square of a third of a 16 bit sample's step


class LearnableSincBank(nn.Module):
    """Learnable sinc filterbank: audio -> log power of each band, starting from bands evenly spaced in mel.

    Learned, per filter: ``width``, a logit between the narrowest bandwidth and the widest, and
    ``place``, a logit between the lowest position where a band of that width fits and the highest.
    So 0 < low < high < sample_rate / 2 and high - low >= min_width hold by construction, and no
    gradient step can break them.

    Args:
        filters: how many.
        taps: length of the impulse responses; odd, so that they are symmetric about a sample.
        stride: samples between outputs.
        sample_rate: Hz.
        min_width: narrowest bandwidth, Hz.
    """

    def __init__(self, filters: int, taps: int, stride: int, sample_rate: int, min_width: float = 10.0):
        super().__init__()
        if taps % 2 == 0:
            raise ValueError(f"taps {taps} must be odd")
        self.taps, self.stride, self.sample_rate, self.min_width = taps, stride, sample_rate, min_width
        self.span = sample_rate / 2 - 2 * MARGIN  # room for bands, Hz
        edges = torch.from_numpy(mel_band_edges(filters, sample_rate)).clamp(20.0, sample_rate / 2 - 20.0)
        width = edges.diff().clamp_min(2 * min_width)
        self.width = nn.Parameter(_logit((width - min_width) / (self.span - min_width)))
        self.place = nn.Parameter(_logit((edges[:-1] - MARGIN) / (self.span - width)))
        half = taps // 2
        self.register_buffer("seconds", torch.arange(-half, half + 1) / sample_rate, persistent=False)
        self.register_buffer("window", torch.from_numpy(np.hamming(taps)).float(), persistent=False)
        self.register_buffer("frozen", None, persistent=False)

    def cutoffs(self) -> tuple[Tensor, Tensor]:
        """Lower and upper cut-off of each filter: Hz, float32 (filters,) each."""
        width = self.min_width + (self.span - self.min_width) * self.width.float().sigmoid()
        low = MARGIN + (self.span - width) * self.place.float().sigmoid()
        return low, low + width

    def kernels(self) -> Tensor:
        """Impulse responses, float32 (filters, 2, taps): the symmetric band-pass and its twin.

        The ideal band-pass is an ideal low-pass of half the bandwidth, moved to the band's centre;
        ``torch.sinc`` and its gradient are finite at the middle tap, where a quotient would be 0/0.
        """
        low, high = (cutoff.unsqueeze(1) for cutoff in self.cutoffs())
        low_pass = 2 * (high - low) / self.sample_rate * torch.sinc((high - low) * self.seconds)
        phase = math.pi * (low + high) * self.seconds
        return torch.stack([phase.cos(), phase.sin()], dim=1) * (low_pass * self.window).unsqueeze(1)

    @torch.no_grad()
    def freeze(self) -> None:
        """Keep the impulse responses as they are now.

        An exported graph would compute them with another cosine: filters of narrow low bands are small
        differences, and the logarithm of what hardly passes them would differ.
        """
        self.frozen = self.kernels()

    def forward(self, audio: Tensor) -> Tensor:
        """Natural logarithm of the power of each band.

        Always in float32: beside strong low bands, the rounding of shorter formats would drown the
        weak high ones, where vocoders leave their traces.

        Args:
            audio: shape (batch, samples).

        Returns:
            float32, shape (batch, filters, (samples - taps) // stride + 1); no padding is added.
        """
        with torch.autocast(audio.device.type, enabled=False):
            kernels = (self.kernels() if self.frozen is None else self.frozen).flatten(0, 1)
            if is_exporting():  # ``unfold`` would be a table of all indices
                filtered = F.conv1d(audio.unsqueeze(1), kernels.unsqueeze(1), stride=self.stride).mT
            else:  # few channels in, many out, long filters: a product of matrices, and faster as one
                filtered = audio.float().unfold(-1, self.taps, self.stride) @ kernels.T
            power = filtered.unflatten(-1, (-1, 2)).square().sum(-1)
            return (power + FLOOR).log().transpose(1, 2)


def _logit(share: Tensor) -> Tensor:
    return share.clamp(1e-4, 1 - 1e-4).logit().float()
