"""Dual stream (S4): features and learnable filters on the audio, fused, then MoE-Mamba.

Two views of an utterance, on one time axis -> fusion -> MoE-Mamba's blocks of bidirectional Mamba and
mixtures of experts -> pooling over time -> embedding. The features' stream is MoE-Mamba's: a weighted sum of
the front-end's layers, projected. The audio's stream has learnable band-pass filters and a residual 2-D
convolutional encoder, and hears what self-supervised models have learned to ignore. Either stream also
works alone; the audio's then needs no front-end at all.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError
from asvtk.models.backend_config import DualStreamConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.models.mamba_blocks import EmbeddingHead, FeatureProjection
from asvtk.models.moe_mamba import MoeMambaStack
from asvtk.nn.frames import frame_mask, stack_frames
from asvtk.nn.fusion import AttentionFusion, ConcatFusion, GatedFusion
from asvtk.nn.learnable_sinc import LearnableSincBank
from asvtk.nn.masked_norm import MaskedBatchNorm
from asvtk.nn.moe import MixtureOfExperts
from asvtk.nn.pooling import GlobalMvn
from asvtk.nn.residual import ResidualEncoder

__all__ = ["DualStream", "DualStreamConfig"]


class DualStream(BackEnd):
    """Dual-stream back-end, for ``layers`` layers with ``d_in`` numbers a frame; audio alone: 0, 0."""

    Config = DualStreamConfig

    def __init__(self, config: DualStreamConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.uses_features = config.streams != "audio"
        self.uses_audio = config.streams != "features"
        if self.uses_features:
            self.mvn = GlobalMvn(layers, d_in)
            self.features = FeatureProjection(layers, d_in, config.stack, config.d_model)
        if self.uses_audio:
            self.audio = SincStream(config)
        if config.streams == "both":
            self.fusion = _build_fusion(config)
            self._frames_agree = False  # looked at once: looking makes a GPU wait
        self.blocks = MoeMambaStack(config)
        self.head = EmbeddingHead(config)

    def forward(self, batch: Batch) -> Output:
        """Embed a batch.

        Raises:
            AsvtkError: the two streams' frames are not equally long.
        """
        if self.config.streams == "both":
            x, lengths = self._fuse(self._hear_features(batch), self._hear_audio(batch))
        else:
            x, lengths = self._hear_features(batch) if self.uses_features else self._hear_audio(batch)
        x, auxiliary = self.blocks(x, lengths)
        return Output(self.head(x, lengths), auxiliary)

    @property
    def moe_layers(self) -> list[MixtureOfExperts]:
        """The routed layers, first block first; empty where the feed-forward networks are dense."""
        return self.blocks.moe_layers

    def _hear_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.features(self.mvn(batch.features), batch.lengths)

    def _hear_audio(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.audio(batch.audio, batch.samples)

    def _fuse(self, features: tuple[Tensor, Tensor], audio: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Fuse what both streams have heard, frame by frame; a frame that only one has is dropped.

        Frame t of both streams stands for the same time (``SincStream``), so alignment is a matter of the
        last frame alone: audio that ends within an SSL frame may still fill a frame of 20 ms.
        """
        (x, x_lengths), (y, y_lengths) = features, audio
        if not self._frames_agree:
            difference = (x_lengths - y_lengths).abs()
            if difference.max() > 1:
                row = difference.argmax()
                raise AsvtkError(
                    f"model dual_stream: {x_lengths[row]} frames of features, {y_lengths[row]} of audio; set "
                    "stack and audio_stack so that frames are equally long "
                    "(SSL, audio: 20 ms; LFCC: 10 ms)"
                )
            self._frames_agree = True
        y = F.pad(y, (0, 0, 0, x.shape[1] - y.shape[1]))  # negative padding cuts
        lengths = torch.minimum(x_lengths, y_lengths)
        return self.fusion(x, y, lengths), lengths


class SincStream(nn.Module):
    """Audio -> one sequence of the model's width, on the time axis of the SSL models.

    Those take a step of 320 samples and hear 400 in each frame, so that the middle of frame t lies at
    sample 320 t + 199.5. Here the filters' outputs are taken every 10 samples (``hop``), and five
    halvings in the encoder make 10 * 2^5 = 320; the first output is taken at sample 45, so that frame t
    collects those at 320 t + 45, ..., 320 t + 355, whose middle is the same to half a sample. So nothing
    has to be interpolated, and utterances have as many frames here as there, or one more at the end.
    """

    FRAME = 320  # samples
    BAND = 3  # neighbouring filters pooled into one band

    def __init__(self, config: DualStreamConfig):
        super().__init__()
        self.hop, self.stack = config.hop, config.audio_stack
        self.start = (400 - self.FRAME + self.hop) // 2  # sample of the first output
        self.bank = LearnableSincBank(config.filters, config.taps, self.hop, SAMPLE_RATE, config.min_width)
        self.norm = MaskedBatchNorm(config.filters)  # brings strong low and weak high filters to one scale
        self.encoder = ResidualEncoder(config.channels, halvings=int(math.log2(self.FRAME // self.hop)))
        bands = -(-config.filters // self.BAND)
        self.projection = nn.Linear(self.stack * config.channels[-1] * bands, config.d_model)

    def forward(self, audio: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) and real samples per row -> (batch, frames, d_model) and real frames per row."""
        lengths = ((samples - self.start) // self.FRAME).clamp_min(1)
        frames = max((audio.shape[1] - self.start) // self.FRAME, 1)
        audio = audio * frame_mask(samples, audio.shape[1])
        log_power = self.bank(self._pad(audio, frames))
        columns = frame_mask(lengths, frames).repeat_interleave(self.FRAME // self.hop, dim=1)
        image = self.norm(log_power, columns).unsqueeze(1)
        image = F.max_pool2d(image, (self.BAND, 1), ceil_mode=True)
        x, lengths = stack_frames(self.encoder(image, lengths), lengths, self.stack)
        return self.projection(x), lengths

    def _pad(self, audio: Tensor, frames: int) -> Tensor:
        """Cut or pad so that the first output lies at ``start`` and the last is that of the last frame."""
        half = self.bank.taps // 2
        last = self.start + frames * self.FRAME - self.hop
        return F.pad(audio, (half - self.start, last + half + 1 - audio.shape[1]))


def _build_fusion(config: DualStreamConfig) -> nn.Module:
    if config.fusion == "attention":
        return AttentionFusion(config.d_model, config.heads)
    return {"gated": GatedFusion, "concat": ConcatFusion}[config.fusion](config.d_model)
