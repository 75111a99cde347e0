"""Whisper's encoder on speech of any length up to 30 s.

Whisper pads every utterance to 30 s; here position embeddings are cut to the real frames instead, and
utterances of a padded batch do not hear each other's padding. Whatever the model, its blocks are those of
wav2vec 2.0's Large models.

Source: Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.frontends.ssl.blocks import Block, BlockStack, final_norm_of
from asvtk.frontends.ssl.mel import SHIFT, WhisperLogMel
from asvtk.nn.float8 import wide
from asvtk.nn.frames import frame_mask

__all__ = ["WhisperEncoder"]


class WhisperEncoder(nn.Module):
    """Whisper's encoder: waveform -> hidden states.

    Args:
        model: a ``WhisperEncoder`` of transformers in float32.
        depth: how many transformer blocks are needed; None: all.
        dtype: precision of matrix products; 8 bits are for those of the blocks.
    """

    def __init__(self, model: nn.Module, depth: int | None = None, dtype: torch.dtype = torch.float32):
        super().__init__()
        blocks = list(model.layers[:depth])
        self.mel = WhisperLogMel(model.config.num_mel_bins)
        convolutions = model.conv1, model.conv2
        self.weights = nn.ParameterList(x.weight.detach().to(wide(dtype)) for x in convolutions)
        self.biases = nn.ParameterList(x.bias.detach().to(wide(dtype)) for x in convolutions)
        self.positions = nn.Parameter(model.embed_positions.weight.detach().clone())
        outer_norm = final_norm_of(model) if len(blocks) == len(model.layers) else None
        frozen = {number: Block(block, True, dtype) for number, block in enumerate(blocks, 1)}
        self.stack = BlockStack(frozen, outer_norm, pre_norm=True)
        self.requires_grad_(False)

    def forward(self, audio: Tensor, samples: Tensor | None = None) -> list[Tensor]:
        """Hidden states of utterances, as ``SslEncoder`` gives them, 20 ms a frame.

        Number 0 is what enters the transformer: the convolved spectrogram with positions.
        """
        x = self.mel(audio, samples)
        x = self._convolve(x, 0)
        lengths = None
        if samples is not None:
            lengths = samples // SHIFT
            x = x * frame_mask(lengths, x.shape[1]).unsqueeze(-1)  # the next convolution sees them
            lengths = (lengths + 1) // 2
        x = self._convolve(x, 1)
        # Positions are float32: they are added to the residual stream, and are no product.
        return self.stack(x.float(), self.positions[: x.shape[1]], None, lengths)

    def _convolve(self, x: Tensor, number: int) -> Tensor:
        """(batch, frames, in) -> (batch, frames, out), of the second convolution half as many frames."""
        weight, bias = self.weights[number], self.biases[number]
        return F.gelu(F.conv1d(x.transpose(1, 2).to(weight.dtype), weight, bias, number + 1, 1)).transpose(
            1, 2
        )
