"""What a dual stream's second stream hears: audio -> one sequence of the model's width."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.io.audio import SAMPLE_RATE
from asvtk.nn.cepstra import LinearCepstra
from asvtk.nn.frames import frame_mask, stack_frames
from asvtk.nn.learnable_sinc import LearnableSincBank
from asvtk.nn.masked_norm import MaskedBatchNorm
from asvtk.nn.pooling import subtract_mean
from asvtk.nn.residual import ResidualEncoder

__all__ = ["CepstralStream", "SincStream"]


class SincStream(nn.Module):
    """Audio -> one sequence of the model's width, on the time axis of the SSL models.

    Those take a step of 320 samples and hear 400 in each frame, so that the middle of frame t lies at
    sample 320 t + 199.5. Here the filters' outputs are taken every 10 samples (``hop``), and five
    halvings in the encoder make 10 * 2^5 = 320; the first output is taken at sample 45, so that frame t
    collects those at 320 t + 45, ..., 320 t + 355, whose middle is the same to half a sample. So nothing
    has to be interpolated, and utterances have as many frames here as there, or one more at the end.

    Args:
        d_model: width of the model.
        filters, taps, hop, min_width: of the ``LearnableSincBank``.
        channels: of the six residual blocks.
        stack: neighbouring frames joined into one.
        subtract_mean: whether to take a steady channel away, the mean over time of each filter.
    """

    FRAME = 320  # samples
    BAND = 3  # neighbouring filters pooled into one band

    def __init__(
        self,
        d_model: int,
        *,
        filters: int,
        taps: int,
        hop: int,
        min_width: float,
        channels: Sequence[int],
        stack: int,
        subtract_mean: bool,
    ):
        super().__init__()
        self.hop, self.stack, self.subtract_mean = hop, stack, subtract_mean
        self.start = (400 - self.FRAME + self.hop) // 2  # sample of the first output
        self.bank = LearnableSincBank(filters, taps, hop, SAMPLE_RATE, min_width)
        self.norm = MaskedBatchNorm(filters)  # brings strong low and weak high filters to one scale
        self.encoder = ResidualEncoder(channels, halvings=int(math.log2(self.FRAME // hop)))
        bands = -(-filters // self.BAND)
        self.projection = nn.Linear(stack * channels[-1] * bands, d_model)

    def forward(self, audio: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) and real samples per row -> (batch, frames, d_model) and real frames per row."""
        lengths = ((samples - self.start) // self.FRAME).clamp_min(1)
        frames = max((audio.shape[1] - self.start) // self.FRAME, 1)
        audio = audio * frame_mask(samples, audio.shape[1])
        log_power = self.bank(self._pad(audio, frames))
        columns = frame_mask(lengths, frames).repeat_interleave(self.FRAME // self.hop, dim=1)
        if self.subtract_mean:
            log_power = subtract_mean(log_power.mT.unsqueeze(1), columns.sum(1)).squeeze(1).mT
        image = self.norm(log_power, columns).unsqueeze(1)
        image = F.max_pool2d(image, (self.BAND, 1), ceil_mode=True)
        x, lengths = stack_frames(self.encoder(image, lengths), lengths, self.stack)
        return self.projection(x), lengths

    def _pad(self, audio: Tensor, frames: int) -> Tensor:
        """Cut or pad so that the first output lies at ``start`` and the last is that of the last frame."""
        half = self.bank.taps // 2
        last = self.start + frames * self.FRAME - self.hop
        return F.pad(audio, (half - self.start, last + half + 1 - audio.shape[1]))


class CepstralStream(nn.Module):
    """Audio -> LFCC, made on the device: so a system hears them beside a front-end of another kind.

    Frames are 10 ms apart, times ``stack``. With 2 their middles lie 2.5 ms behind those of SSL models.

    Args: as ``SincStream``.
    """

    def __init__(self, d_model: int, *, stack: int, subtract_mean: bool):
        super().__init__()
        self.stack, self.subtract_mean = stack, subtract_mean
        self.cepstra = LinearCepstra()
        self.norm = MaskedBatchNorm(self.cepstra.width)
        self.projection = nn.Linear(stack * self.cepstra.width, d_model)

    def forward(self, audio: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) and real samples per row -> (batch, frames, d_model) and real frames per row."""
        x, lengths = self.cepstra(audio, samples), self.cepstra.frames(samples)
        if self.subtract_mean:
            x = subtract_mean(x.unsqueeze(1), lengths).squeeze(1)
        x = self.norm(x.mT, frame_mask(lengths, x.shape[1])).mT
        x, lengths = stack_frames(x, lengths, self.stack)
        return self.projection(x), lengths
