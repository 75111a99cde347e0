"""Neural vocoders that make a waveform of log-mel frames at once, and the names of all vocoders.

They leave different traces. One sets spectra of whole frames, which overlap-add joins; the other raises
the rate step by step by transposed convolutions, whose kernels repeat along time. The third, in
:mod:`asvtk.augment.neural.harmonic`, filters regular harmonics of F0, and the last, in
:mod:`asvtk.augment.neural.flow`, comes from noise in several steps.

Every generator has ``copy(audio, rng, **settings)``: speech -> a copy of it, (batch, samples) in whole hops.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.augment.neural.base import MelGenerator
from asvtk.augment.neural.blocks import SLOPE, FrameBlock, ResidualConvolutions
from asvtk.augment.neural.flow import FlowGenerator
from asvtk.augment.neural.harmonic import HarmonicGenerator
from asvtk.augment.neural.spectra import HOP, MELS, istft

__all__ = ["GENERATORS"]


class SpectralGenerator(MelGenerator):
    """ConvNeXt blocks at the frame rate, and magnitudes and phases of short-time spectra.

    Source: Siuzdak, "Vocos: closing the gap between time-domain and Fourier-based neural vocoders for
    high-quality audio synthesis", ICLR 2024.
    """

    def __init__(self, width: int = 384, blocks: int = 6, fft: int = 800):
        super().__init__()
        self.entry = nn.Conv1d(MELS, width, 7, padding=3)
        self.blocks = nn.Sequential(*(FrameBlock(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, fft + 2)

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, MELS, frames) -> (batch, frames * HOP)."""
        x = self.norm(self.blocks(self.entry(mel)).transpose(1, 2))
        magnitude, phase = self.head(x).float().transpose(1, 2).chunk(2, dim=1)
        return istft(torch.polar(magnitude.clamp(max=5).exp(), phase), HOP)


class UpsamplingGenerator(MelGenerator):
    """Transposed convolutions from the frame rate to the sampling rate, each followed by residual ones.

    Source: Kong, Kim and Bae, "HiFi-GAN: generative adversarial networks for efficient and high fidelity
    speech synthesis", NeurIPS 2020, in a small form.
    """

    STEPS = (5, 5, 4, 2)  # their product is HOP

    def __init__(self, channels: int = 256):
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
            x = raise_rate(F.leaky_relu(x, SLOPE))
            x = sum(branch(x) for branch in refine) / len(refine)
        return torch.tanh(self.exit(F.leaky_relu(x, SLOPE)).float()).squeeze(1)


#: name -> class
GENERATORS = {
    "spectral": SpectralGenerator,
    "upsampling": UpsamplingGenerator,
    "harmonic": HarmonicGenerator,
    "flow": FlowGenerator,
}
