"""Linear-frequency cepstra of audio that is on the device already."""

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.io.audio import SAMPLE_RATE
from asvtk.nn.triangles import linear_triangles

__all__ = ["LinearCepstra"]

_FLOOR = torch.finfo(torch.float32).eps  # under a band's energy


class LinearCepstra(nn.Module):
    """What the front-end ``lfcc`` gives with its defaults (:mod:`asvtk.frontends.lfcc`), for batches.

    20 cepstra of 20 bands and their first and second differences, of 20 ms every 10 ms.

    Source: Sahidullah, Kinnunen and Hanilçi, "A comparison of features for synthetic speech detection",
    Interspeech 2015.
    """

    DIMENSIONS = 60
    WINDOW, SHIFT, FFT = 320, 160, 512  # samples
    _PREEMPHASIS, _BANDS = 0.97, 20

    def __init__(self):
        super().__init__()
        cosines = dct(np.eye(self._BANDS), type=2, norm="ortho", axis=-1)
        filters = linear_triangles(self._BANDS, self.FFT, SAMPLE_RATE)
        for name, values in ("window", np.hamming(self.WINDOW)), ("filters", filters), ("cosines", cosines):
            self.register_buffer(name, torch.from_numpy(values).float(), persistent=False)

    def forward(self, audio: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Cepstra of the frames that lie within an utterance; one that is shorter has one frame.

        Args:
            audio: shape (batch, samples), padded with zeros.
            samples: real samples per row, shape (batch,).

        Returns:
            float32 (batch, frames, 60), and real frames per row, (batch,).
        """
        with torch.autocast(audio.device.type, enabled=False):
            audio = F.pad(audio.float(), (0, max(0, self.WINDOW - audio.shape[1])))
            emphasised = torch.cat([audio[:, :1], audio[:, 1:] - self._PREEMPHASIS * audio[:, :-1]], dim=1)
            frames = emphasised.unfold(1, self.WINDOW, self.SHIFT) * self.window
            power = torch.view_as_real(torch.fft.rfft(frames, self.FFT)).square().sum(-1)
            static = (power @ self.filters + _FLOOR).log10() @ self.cosines
        lengths = ((samples - self.WINDOW) // self.SHIFT + 1).clamp_min(1)
        delta = _difference(static, lengths)
        return torch.cat([static, delta, _difference(delta, lengths)], dim=-1), lengths


def _difference(x: Tensor, lengths: Tensor) -> Tensor:
    """Next frame - previous frame; the first and the last real one stand in for what lies outside."""
    at = torch.arange(x.shape[1], device=x.device)
    last = (lengths - 1).unsqueeze(1)
    after, before = torch.minimum(at + 1, last), torch.minimum((at - 1).clamp_min(0), last)
    return x.gather(1, _rows(after, x)) - x.gather(1, _rows(before, x))


def _rows(index: Tensor, x: Tensor) -> Tensor:
    return index.unsqueeze(-1).expand_as(x)
