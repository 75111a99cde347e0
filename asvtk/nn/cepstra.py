"""Linear-frequency cepstral coefficients (LFCC) of a batch of audio."""

import numpy as np
import scipy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.filterbank import LinearFilterbank

__all__ = ["LinearCepstra"]

_FLOOR = torch.finfo(torch.float32).eps  # under a band's energy


class LinearCepstra(nn.Module):
    """LFCC with first and second differences.

    Hamming windows, triangular filters on the linear frequency axis, log10 filter energies, a DCT with the
    0th coefficient. The defaults are those of the ASVspoof baselines: 20 ms windows every 10 ms, 20 filters
    and coefficients.

    Source: Sahidullah, Kinnunen and Hanilçi, "A comparison of features for synthetic speech detection",
    Interspeech 2015.

    Args:
        coefficients: static ones.
        filters: of the filterbank.
        window, shift, fft: in samples.
        preemphasis: weight of the sample before in the difference that is analysed.
    """

    def __init__(
        self,
        coefficients: int = 20,
        filters: int = 20,
        window: int = 320,
        shift: int = 160,
        fft: int = 512,
        preemphasis: float = 0.97,
    ):
        super().__init__()
        self.preemphasis = preemphasis
        self.filterbank = LinearFilterbank(np.hamming(window), shift, fft, filters)
        cosines = scipy.fft.dct(np.eye(filters), type=2, norm="ortho", axis=-1)[:, :coefficients]
        self.register_buffer("cosines", torch.from_numpy(cosines).float(), persistent=False)

    def forward(self, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Cepstra of the frames that lie within an utterance; one that is shorter has one frame.

        Args:
            audio: shape (batch, samples), padded with zeros.
            lengths: real frames per row, shape (batch,); None: all are real.

        Returns:
            float32 (batch, frames, 3 * coefficients); beyond the real ones anything finite.
        """
        return self.with_differences(self.static(audio), lengths)

    def static(self, audio: Tensor) -> Tensor:
        """Cepstra without differences: (batch, samples) -> float32 (batch, frames, coefficients)."""
        with torch.autocast(audio.device.type, enabled=False):
            # Padded before the difference: that hears the step down to the padding.
            audio = F.pad(audio.float(), (0, max(0, self.filterbank.length - audio.shape[1])))
            emphasised = torch.cat([audio[:, :1], audio[:, 1:] - self.preemphasis * audio[:, :-1]], dim=1)
            return (self.filterbank(emphasised) + _FLOOR).log10() @ self.cosines

    def with_differences(self, static: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Static coefficients, first and second differences side by side.

        Args:
            static: shape (batch, frames, coefficients).
            lengths: real frames per row, shape (batch,); None: all are real.
        """
        delta = _difference(static, lengths)
        return torch.cat([static, delta, _difference(delta, lengths)], dim=-1)


def _difference(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Next frame - previous frame; the first and the last real one stand in for what lies outside."""
    if lengths is None:
        padded = torch.cat([x[:, :1], x, x[:, -1:]], dim=1)
        return padded[:, 2:] - padded[:, :-2]
    at = torch.arange(x.shape[1], device=x.device)
    last = (lengths - 1).unsqueeze(1)
    after, before = torch.minimum(at + 1, last), torch.minimum((at - 1).clamp_min(0), last)
    return x.gather(1, _rows(after, x)) - x.gather(1, _rows(before, x))


def _rows(index: Tensor, x: Tensor) -> Tensor:
    return index.unsqueeze(-1).expand_as(x)
