"""What tells the vocoder's waveforms from real ones while it is trained."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.augment.neural.spectra import magnitudes

__all__ = ["Discriminators"]

_SLOPE = 0.1


class Discriminators(nn.ModuleList):
    """Several views of a waveform, each with its own judgement.

    Sources: periods from HiFi-GAN (Kong, Kim and Bae, NeurIPS 2020), resolutions from UnivNet (Jang et al.,
    Interspeech 2021); least-squares losses and feature matching from HiFi-GAN, equations 1, 2 and 4.
    """

    def __init__(self):
        periods = [PeriodDiscriminator(period) for period in (2, 3, 5, 7, 11)]
        super().__init__(periods + [SpectrumDiscriminator(fft) for fft in (2048, 1024, 512)])

    def loss(self, made: Tensor, real: Tensor) -> Tensor:
        """What the discriminators are to lower: real -> 1, made -> 0."""
        return sum((d(real)[0] - 1).square().mean() + d(made.detach())[0].square().mean() for d in self)

    def generator_loss(self, made: Tensor, real: Tensor) -> Tensor:
        """What the generator is to lower: pass for real, and look alike in every layer."""
        total = 0
        for discriminator in self:
            judgement, seen = discriminator(made)
            with torch.no_grad():
                _, wanted = discriminator(real)
            matching = sum((a - b).abs().mean() for a, b in zip(seen, wanted, strict=True)) / len(seen)
            total = total + (judgement - 1).square().mean() + 2 * matching
        return total


class _Stack(nn.Module):
    """Convolutions, and one more that judges: image -> judgements, and what each convolution made."""

    def __init__(self, convolutions: list[nn.Module], judge: nn.Module):
        super().__init__()
        self.convolutions, self.judge = nn.ModuleList(convolutions), judge

    def look(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        seen = []
        for convolution in self.convolutions:
            image = F.leaky_relu(convolution(image), _SLOPE)
            seen.append(image.float())
        return self.judge(image).float(), seen


class PeriodDiscriminator(_Stack):
    """Looks at every ``period``-th sample."""

    def __init__(self, period: int, channels: tuple[int, ...] = (1, 16, 64, 128, 256)):
        super().__init__(
            [
                nn.Conv2d(before, after, (5, 1), (3, 1), padding=(2, 0))
                for before, after in zip(channels, channels[1:], strict=False)
            ],
            nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)),
        )
        self.period = period

    def forward(self, audio: Tensor):
        padded = F.pad(audio, (0, -audio.shape[-1] % self.period))
        return self.look(padded.view(len(audio), 1, -1, self.period))


class SpectrumDiscriminator(_Stack):
    """Looks at the log spectrogram of one resolution."""

    def __init__(self, fft: int, channels: int = 24):
        wide = {"kernel_size": (3, 9), "padding": (1, 4)}
        super().__init__(
            [nn.Conv2d(1, channels, **wide)]
            + [nn.Conv2d(channels, channels, stride=(1, 2), **wide) for _ in range(3)],
            nn.Conv2d(channels, 1, 3, padding=1),
        )
        self.fft = fft

    def forward(self, audio: Tensor):
        image = magnitudes(audio, self.fft, self.fft // 4, self.fft).log()
        return self.look(image.transpose(1, 2).unsqueeze(1))
