"""A neural vocoder that turns noise into speech in several steps."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.augment.neural.blocks import FrameBlock
from asvtk.augment.neural.recorded import half
from asvtk.augment.neural.spectra import FFT, HOP, MELS, istft, log_mel, stft
from asvtk.augment.vocoders.parts import mel_matrix
from asvtk.io.audio import SAMPLE_RATE

__all__ = ["FlowGenerator"]

_OCTAVES = 8  # of sines and cosines that tell the time
_MEL_SCALE = 0.3  # brings log-mel frames to about the spread of the spectra beside them


class FlowGenerator(nn.Module):
    """Conditional flow matching: the velocity from noise (time 0) to speech (time 1), given log-mel frames.

    What flows are short-time spectra, over the envelope that the mel frames give: so the loudest bins do
    not count for all, and speech has about the power of the noise in every bin.

    Source: Lipman et al., "Flow matching for generative modeling", ICLR 2023, equations 22 and 23 with
    sigma_min = 0, for path and loss. The whitening is ours. That the network only adds to what is
    best for Gaussian data follows Karras et al., "Elucidating the design space of diffusion-based generative
    models", NeurIPS 2022, section 5.
    """

    STEPS_PER_STEP = 8  # of the configuration: one costs about a ninth of one against discriminators
    MEASURE = "flow-matching loss"  # what training reports

    def __init__(self, width: int = 512, blocks: int = 8, fft: int = 800):
        super().__init__()
        self.fft = fft
        bins = fft // 2 + 1
        self.entry = nn.Conv1d(2 * bins + MELS + 2 * _OCTAVES, width, 7, padding=3)
        self.blocks = nn.Sequential(*(FrameBlock(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * bins)
        self.register_buffer("spread", _mel_to_bins(fft), persistent=False)
        rates = math.pi / 2 * 2.0 ** torch.arange(_OCTAVES)
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, spectra: Tensor, mel: Tensor, time: Tensor) -> Tensor:
        """The velocity where ``spectra`` are.

        Args:
            spectra: whitened, real parts above imaginary ones, (batch, fft + 2, frames).
            mel: of the speech, (batch, MELS, frames).
            time: 0 ... 1, (batch,).

        Returns:
            as ``spectra``.
        """
        angles = time.unsqueeze(-1) * self.rates
        clock = torch.cat([angles.sin(), angles.cos()], dim=1).unsqueeze(-1).expand(-1, -1, mel.shape[-1])
        x = self.entry(torch.cat([spectra, _MEL_SCALE * mel, clock], dim=1))
        more = self.head(self.norm(self.blocks(x).transpose(1, 2))).float().transpose(1, 2)
        # All there is to know if speech, too, were white Gaussian noise; layers narrower than the spectra
        # are slow to learn it.
        linear = (2 * time - 1) / (time.square() + (1 - time).square())
        return linear.view(-1, 1, 1) * spectra + more

    def loss(self, real: Tensor) -> Tensor:
        """The velocity's mean square error at random times, some 0.8 at first: (batch, samples) -> ()."""
        mel = log_mel(real)
        speech, noise = self._whiten(real, mel), self._noise(torch.randn_like(real))
        time = torch.rand(len(real), device=real.device)
        share = time.view(-1, 1, 1)
        with half(real.device.type):
            velocity = self((1 - share) * noise + share * speech, mel, time)
        return (velocity - (speech - noise)).square().mean()

    def copy(self, audio: Tensor, rng: np.random.Generator, steps: int = 10, begin: float = 0.0) -> Tensor:
        """Speech with the mel frames of ``audio``, by Euler's method.

        With ``begin`` above 0 it starts from speech under noise, of which much survives: partial regeneration
        (Meng et al., "SDEdit: guided image synthesis and editing with stochastic differential equations",
        ICLR 2022).

        Args:
            audio: (batch, samples), whole hops, near the RMS of ``training.LEVEL``.
            rng: makes the noise.
            steps: how many, at equal distances.
            begin: the time to start from, 0 (noise) to 1 (the speech itself).

        Returns:
            as ``audio``.
        """
        mel = log_mel(audio)
        noise = torch.from_numpy(rng.standard_normal(audio.shape, dtype=np.float32)).to(audio.device)
        spectra = (1 - begin) * self._noise(noise) + begin * self._whiten(audio, mel)
        stride = (1 - begin) / steps
        for number in range(steps):
            time = torch.full((len(audio),), begin + number * stride, device=audio.device)
            spectra = spectra + stride * self(spectra, mel, time)
        return istft(torch.complex(*spectra.chunk(2, dim=1)) * self._envelope(mel), HOP)

    def _whiten(self, audio: Tensor, mel: Tensor) -> Tensor:
        return _stack(stft(audio, self.fft, HOP, self.fft) / self._envelope(mel))

    def _noise(self, white: Tensor) -> Tensor:
        """Its spectra, at power 1: made of samples, so that frames share what they overlap, as in speech."""
        power = 3 / 8 * self.fft  # of the Hann window
        return _stack(stft(white, self.fft, HOP, self.fft)) / math.sqrt(power)

    def _envelope(self, mel: Tensor) -> Tensor:
        return self.spread @ mel.exp()


def _stack(spectra: Tensor) -> Tensor:
    return torch.cat([spectra.real, spectra.imag], dim=1)


def _mel_to_bins(fft: int) -> Tensor:
    """Mean magnitudes in mel bands, interpolated at the bins: (fft // 2 + 1, MELS) by sums over the bands."""
    triangles = mel_matrix(MELS, fft, SAMPLE_RATE)
    triangles[0, 0] = triangles[-1, -1] = 1  # none reaches 0 Hz or Nyquist: as in the nearest band
    sums = mel_matrix(MELS, FFT, SAMPLE_RATE).sum(1)
    return torch.from_numpy((triangles / triangles.sum(0)).T / sums).float()
