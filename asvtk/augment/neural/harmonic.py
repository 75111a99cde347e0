"""A neural vocoder with a source: harmonics of F0 and noise, through filters that a network sets."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.augment.neural.base import MelGenerator
from asvtk.augment.neural.blocks import FrameBlock
from asvtk.augment.neural.spectra import HOP, MELS, istft, stft
from asvtk.io.audio import SAMPLE_RATE

__all__ = ["HarmonicGenerator", "harmonics", "track_f0"]

_LOWEST, _HIGHEST = 65.0, 420.0  # Hz, of F0
_TOP = 7900.0  # Hz, of harmonics
_FRAME = 800  # samples; three periods of the lowest F0 and some


class HarmonicGenerator(MelGenerator):
    """ConvNeXt blocks at the frame rate set two filters for each frame: of harmonics, and of noise.

    Voiced speech so gets the regular periods that source-filter vocoders give it, however good the filters.

    Source: Liu, Chen and Yu, "Neural homomorphic vocoder", Interspeech 2020, with filters given as
    magnitudes and phases of short-time spectra in place of cepstra.
    """

    def __init__(self, width: int = 384, blocks: int = 6, fft: int = 800):
        super().__init__()
        self.fft = fft
        self.entry = nn.Conv1d(MELS, width, 7, padding=3)
        self.blocks = nn.Sequential(*(FrameBlock(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3 * (fft // 2 + 1))

    def forward(self, mel: Tensor, periodic: Tensor, noise: Tensor) -> Tensor:
        """Sources of power 1 through the filters.

        Args:
            mel: (batch, MELS, frames).
            periodic: harmonics, 0 where unvoiced, (batch, frames * HOP).
            noise: white, as ``periodic``.

        Returns:
            as ``periodic``.
        """
        x = self.norm(self.blocks(self.entry(mel)).transpose(1, 2))
        voice, phase, breath = self.head(x).float().transpose(1, 2).chunk(3, dim=1)
        filters = torch.polar(voice.clamp(max=3).exp(), phase), breath.clamp(max=3).exp()
        # Hann windows give noise of power 1 bins of RMS sqrt(3 / 8 fft). Over sqrt(fft), a fresh network's
        # filters, of gain 1 or so, make of it something about as loud as speech at the vocoders' level.
        sources = (stft(x, self.fft, HOP, self.fft) / math.sqrt(self.fft) for x in (periodic, noise))
        return istft(sum(f * source for f, source in zip(filters, sources, strict=True)), HOP)

    def render(self, mel: Tensor, audio: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """As :meth:`MelGenerator.render`; of ``audio``, 600 samples or more, it takes F0."""
        if rng is None:
            noise = torch.randn_like(audio)
        else:
            noise = torch.from_numpy(rng.standard_normal(audio.shape, dtype=np.float32)).to(audio.device)
        return self(mel, harmonics(track_f0(audio)), noise)


@torch.no_grad()
def track_f0(audio: Tensor) -> Tensor:
    """Fundamental frequency in Hz, 0 where unvoiced: (batch, samples), whole hops -> (batch, samples // HOP).

    As :func:`asvtk.augment.vocoders.parts.track_f0`, which names its source, for batches on any device: the
    highest peak of the autocorrelation over that of the window, with a bonus for short periods against octave
    errors, and a median over five frames. Frames 40 dB below a row's loudest are unvoiced. Rows have 600
    samples or more.
    """
    window = torch.hann_window(_FRAME, device=audio.device)
    sides = (_FRAME - HOP) // 2
    padded = F.pad(audio.unsqueeze(1), (sides, sides), "reflect").squeeze(1)
    frames = padded.unfold(1, _FRAME, HOP) * window
    correlation, own = (_autocorrelation(x) for x in (frames, window))
    correlation = correlation / own
    lags = torch.arange(int(SAMPLE_RATE / _HIGHEST), int(SAMPLE_RATE / _LOWEST) + 1, device=audio.device)
    bonus = 0.03 * (lags / lags[0]).log2()
    best = (correlation[..., lags] - bonus).argmax(-1, keepdim=True) + lags[0]
    before, peak, after = (correlation.gather(-1, best + step).squeeze(-1) for step in (-1, 0, 1))
    bend = (2 * peak - before - after).clamp_min(1e-9)
    lag = best.squeeze(-1) + ((after - before) / (2 * bend)).clamp(-0.5, 0.5)
    energy = frames.square().mean(-1)
    voiced = (peak > 0.45) & (energy > 1e-4 * energy.amax(-1, keepdim=True))
    f0 = torch.where(voiced, SAMPLE_RATE / lag, 0.0)
    return F.pad(f0.unsqueeze(1), (2, 2), "replicate").squeeze(1).unfold(1, 5, 1).median(-1).values


@torch.no_grad()
def harmonics(f0: Tensor) -> Tensor:
    """All harmonics of F0 below 7.9 kHz, alike strong, of power 1 where voiced and 0 elsewhere.

    Args:
        f0: Hz, 0 where unvoiced, (batch, frames).

    Returns:
        (batch, frames * HOP).
    """
    voiced = (f0 > 0).float()
    place = {"scale_factor": HOP, "mode": "linear"}
    nearby = F.interpolate(voiced.unsqueeze(1), **place).squeeze(1)
    contour = F.interpolate(f0.unsqueeze(1), **place).squeeze(1) / nearby.clamp_min(1e-3)
    contour = contour.clamp(_LOWEST, _HIGHEST)  # anything where no frame nearby is voiced
    cycles = (contour.double() / SAMPLE_RATE).cumsum(1) % 1
    count = (_TOP / contour).floor()
    half = math.pi * cycles.float()  # of the first harmonic's phase
    # The sum of count cosines in closed form, Dirichlet's kernel; where its denominator vanishes, count.
    sine = half.sin()
    total = ((2 * count + 1) * half).sin() / (2 * sine.clamp_min(1e-6)) - 0.5
    total = torch.where(sine < 1e-5, count, total)
    return total * (2 / count).sqrt() * voiced.repeat_interleave(HOP, 1)


def _autocorrelation(frames: Tensor) -> Tensor:
    """Relative to lag 0: (..., size) -> (..., lags)."""
    power = torch.fft.rfft(frames, 2048).abs().square()
    correlation = torch.fft.irfft(power)[..., : int(SAMPLE_RATE / _LOWEST) + 2]
    return correlation / correlation[..., :1].clamp_min(1e-12)
