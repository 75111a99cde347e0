"""Two kinds of neural vocoder: log-mel frames in, a waveform out.

They leave different traces. One sets spectra of whole frames, which overlap-add joins; the other raises
the rate step by step by transposed convolutions, whose kernels repeat along time.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.augment.neural.spectra import HOP, MELS

__all__ = ["GENERATORS"]

_SLOPE = 0.1  # of leaky ReLUs


class SpectralGenerator(nn.Module):
    """ConvNeXt blocks at the frame rate, and magnitudes and phases of short-time spectra.

    Source: Siuzdak, "Vocos: closing the gap between time-domain and Fourier-based neural vocoders for
    high-quality audio synthesis", ICLR 2024.
    """

    def __init__(self, width: int = 384, blocks: int = 6, fft: int = 800):
        super().__init__()
        self.fft = fft
        self.entry = nn.Conv1d(MELS, width, 7, padding=3)
        self.blocks = nn.Sequential(*(FrameBlock(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, fft + 2)

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, MELS, frames) -> (batch, frames * HOP)."""
        x = self.norm(self.blocks(self.entry(mel)).transpose(1, 2))
        magnitude, phase = self.head(x).float().transpose(1, 2).chunk(2, dim=1)
        return self._overlap_add(torch.polar(magnitude.clamp(max=5).exp(), phase))

    def _overlap_add(self, spectra: Tensor) -> Tensor:
        window = torch.hann_window(self.fft, device=spectra.device).unsqueeze(-1)
        frames = torch.fft.irfft(spectra, self.fft, dim=1) * window
        whole = (1, (frames.shape[-1] - 1) * HOP + self.fft)
        place = {"output_size": whole, "kernel_size": (1, self.fft), "stride": (1, HOP)}
        total = F.fold(frames, **place)
        weight = F.fold(window.square().expand(1, -1, frames.shape[-1]), **place)
        begin = (self.fft - HOP) // 2
        return (total / weight.clamp_min(1e-3))[:, 0, 0, begin : begin + frames.shape[-1] * HOP]


class FrameBlock(nn.Module):
    """x + a depthwise convolution over time, then two linear layers on each frame."""

    def __init__(self, width: int):
        super().__init__()
        self.over_time = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.over_time(x).transpose(1, 2))
        return x + self.contract(F.gelu(self.expand(y))).transpose(1, 2)


class UpsamplingGenerator(nn.Module):
    """Transposed convolutions from the frame rate to the sampling rate, each followed by residual ones.

    Source: Kong, Kim and Bae, "HiFi-GAN: generative adversarial networks for efficient and high fidelity
    speech synthesis", NeurIPS 2020, in a small form.
    """

    STEPS = (5, 5, 4, 2)  # their product is HOP

    def __init__(self, channels: int = 128):
        super().__init__()
        self.entry = nn.Conv1d(MELS, channels, 7, padding=3)
        self.raise_rate, self.refine = nn.ModuleList(), nn.ModuleList()
        for step in self.STEPS:
            self.raise_rate.append(
                nn.ConvTranspose1d(
                    channels, channels // 2, 2 * step, step, padding=(step + 1) // 2, output_padding=step % 2
                )
            )
            channels //= 2
            self.refine.append(nn.ModuleList(ResidualConvolutions(channels, taps) for taps in (3, 7, 11)))
        self.exit = nn.Conv1d(channels, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, MELS, frames) -> (batch, frames * HOP)."""
        x = self.entry(mel)
        for raise_rate, refine in zip(self.raise_rate, self.refine, strict=True):
            x = raise_rate(F.leaky_relu(x, _SLOPE))
            x = sum(branch(x) for branch in refine) / len(refine)
        return torch.tanh(self.exit(F.leaky_relu(x, _SLOPE)).float()).squeeze(1)


class ResidualConvolutions(nn.Module):
    """x + convolution, twice, the second one with wider steps."""

    def __init__(self, channels: int, taps: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, channels, taps, dilation=dilation, padding=dilation * (taps // 2))
            for dilation in (1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = x + convolution(F.leaky_relu(x, _SLOPE))
        return x


#: name -> class
GENERATORS = {"spectral": SpectralGenerator, "upsampling": UpsamplingGenerator}
