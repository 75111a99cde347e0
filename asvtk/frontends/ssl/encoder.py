"""SSL encoder: the forward pass of WavLM, wav2vec 2.0 / XLS-R, HuBERT, UniSpeech-SAT and data2vec-audio.

It is faster than in transformers.

What is done otherwise than in transformers, with the same numbers:

- Frames stand in rows, (batch, frames, channels), from the first convolution on: a convolution is then
  a plain matrix product over rows, and layer norm reads what is contiguous.
- Queries, keys, values and WavLM's position gate come from one matrix product; attention is fused.
- A residual step and the norm behind it are one pass over memory.
- No layer deeper than the deepest one asked for.

In half precision only matrix products are: the residual stream, norms and softmax are float32.

And with other numbers: Base models normalise each channel over time (group norm); here that is over the
real samples, so that an utterance gets the same alone as in a padded batch.

There is no dropout, no layer drop and no SpecAugment in here: frozen means frozen.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.frontends.ssl.blocks import (
    Block,
    BlockStack,
    PositionBias,
    Product,
    final_norm_of,
    is_gelu,
    is_pre_norm,
)
from asvtk.nn.float8 import wide
from asvtk.nn.frames import cut_frames, frame_mask
from asvtk.nn.fused_norm import norm_gelu
from asvtk.nn.grouped_convolution import PositionalConv1d

__all__ = ["SslEncoder"]


class SslEncoder(nn.Module):
    """SSL encoder: the hidden states of a transformers model.

    Args:
        model: a ``WavLMModel``, ``Wav2Vec2Model``, ``HubertModel``, ``UniSpeechModel``,
            ``UniSpeechSatModel`` or ``Data2VecAudioModel`` in float32.
        depth: how many transformer blocks are needed; None: all.
        dtype: precision of matrix products; 8 bits are for those of the blocks.
    """

    def __init__(self, model: nn.Module, depth: int | None = None, dtype: torch.dtype = torch.float32):
        super().__init__()
        encoder, projection = model.encoder, model.feature_projection
        blocks = list(encoder.layers[:depth])
        pre_norm = is_pre_norm(model)
        half = wide(dtype)  # the convolutions are a tenth of the work: they stay exacter
        self.stem = ConvolutionalStem(model.feature_extractor, half)
        self.stem_norm = getattr(projection, "layer_norm", nn.Identity())  # some HuBERTs have none
        self.projection = Product(projection.projection.weight, projection.projection.bias, half)
        stacked = hasattr(encoder.pos_conv_embed, "layers")
        self.positions = (PositionalStack if stacked else PositionalConvolution)(encoder.pos_conv_embed, half)
        outer_norm = encoder.layer_norm
        if pre_norm:  # where such a model is cut short, no norm follows
            outer_norm = final_norm_of(model) if len(blocks) == len(encoder.layers) else None
        frozen = {number: Block(block, pre_norm, dtype) for number, block in enumerate(blocks, 1)}
        self.stack = BlockStack(frozen, outer_norm, pre_norm)
        self.position_bias = PositionBias(model, dtype)
        self.requires_grad_(False)

    def forward(self, audio: Tensor, samples: Tensor | None = None) -> list[Tensor]:
        """Hidden states of utterances.

        Args:
            audio: float32, shape (batch, samples), padded with anything finite.
            samples: real samples of each, shape (batch,); None: all are real.

        Returns:
            ``depth + 1`` tensors of shape (batch, frames, d), with as many frames as the width of
            ``audio`` gives; behind an utterance's real frames they hold anything finite. Number 0 is
            what enters the transformer, number n what leaves its n-th block; behind the last block of
            Large models, also the final norm (the ``last_hidden_state`` of transformers).
        """
        x = self.stem(audio, samples)
        x = self.projection(self.stem_norm(x.float()))
        lengths = None
        if samples is not None:
            lengths = self.stem.frames(samples)
            x = x * frame_mask(lengths, x.shape[1]).unsqueeze(-1)  # the next convolution sees them
        return self.stack(x, self.positions(x, lengths), self.position_bias(x.shape[1]), lengths)


class ConvolutionalStem(nn.Module):
    """Convolutional feature encoder, 20 ms a frame: (batch, samples) -> (batch, frames, channels)."""

    def __init__(self, extractor: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        self.layers = nn.ModuleList(StemLayer(layer, dtype) for layer in extractor.conv_layers)

    def frames(self, samples):
        """How many frames come of so many samples (a number or a tensor)."""
        for layer in self.layers:
            samples = layer.rows(samples)
        return samples

    def forward(self, audio: Tensor, samples: Tensor | None) -> Tensor:
        # With a width of whole hops, the first row of an utterance follows the last one of the utterance
        # before at the same distance as any other two, and the batch is one long matrix.
        hop = 1
        for layer in self.layers:
            hop *= layer.stride
        x = F.pad(audio, (0, -audio.shape[1] % hop)).unsqueeze(-1).to(self.dtype)
        real = audio.shape[1] if samples is None else samples
        for layer in self.layers:
            real = layer.rows(real)
            x = layer(x, real)
        return x[:, : self.frames(audio.shape[1])]


class StemLayer(nn.Module):
    """Layer of the feature encoder: strided convolution over rows, normalisation, activation."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype):
        super().__init__()
        (self.kernel,), (self.stride,) = layer.conv.kernel_size, layer.conv.stride
        taps = layer.conv.weight.permute(0, 2, 1)  # (out, taps, in)
        # A product for every ``stride`` taps: within one of them, rows of the input do not overlap.
        # The first layer's input is so narrow that overlapping rows are cheaper written out, at a width
        # that matrix products like.
        self.written_out = layer.conv.in_channels == 1
        if self.written_out:
            taps = F.pad(taps, (0, 0, 0, -self.kernel % 16))
        step = taps.shape[1] if self.written_out else self.stride
        parts = [taps[:, begin : begin + step].flatten(1) for begin in range(0, taps.shape[1], step)]
        self.first = Product(parts[0], layer.conv.bias, dtype)
        self.later = nn.ParameterList(part.detach().T.contiguous().to(dtype) for part in parts[1:])
        norm = getattr(layer, "layer_norm", None)
        self.norm = norm if isinstance(norm, nn.LayerNorm) else None
        self.time_norm = norm if isinstance(norm, nn.GroupNorm) else None
        self.activation = layer.activation
        self.fusible = self.norm is not None and is_gelu(layer.activation)

    def rows(self, rows):
        """How many rows come of so many (a number or a tensor)."""
        return (rows - self.kernel) // self.stride + 1

    def forward(self, x: Tensor, real: int | Tensor) -> Tensor:
        """(batch, rows, in) -> (batch, rows / stride, out), of which the first ``real`` rows count."""
        batch, rows, channels = x.shape
        if self.written_out:
            width = self.first.weight.shape[1]
            windows = cut_frames(F.pad(x.flatten(1), (0, width - self.stride)), width, self.stride)
            y = self.first(windows.reshape(-1, width))
        else:
            hops = x.reshape(-1, self.stride * channels)
            y = self.first(hops[:, : self.first.weight.shape[1]])
            for shift, weight in enumerate(self.later, 1):
                # The last rows of all would end beyond the last utterance. They are no real rows.
                y[:-shift].addmm_(hops[shift:, : len(weight)], weight)
        y = y.view(batch, rows // self.stride, -1)
        if self.fusible:
            return norm_gelu(y, self.norm)
        if self.norm is not None:
            y = self.norm(y.float()).to(y.dtype)
        elif self.time_norm is not None:
            y = _normalise_over_time(y, real, self.time_norm)
        return self.activation(y)


def _normalise_over_time(x: Tensor, real: int | Tensor, norm: nn.GroupNorm) -> Tensor:
    """Zero mean and unit variance of each channel over the real rows: (batch, rows, channels)."""
    # full() and not tensor(): a CUDA graph cannot hold a copy from the host's memory.
    lengths = real if isinstance(real, Tensor) else torch.full((x.shape[0],), real, device=x.device)
    mask = frame_mask(lengths, x.shape[1]).unsqueeze(-1)
    count = lengths.view(-1, 1, 1)
    mean = (x.float() * mask).sum(1, keepdim=True) / count
    centred = (x.float() - mean) * mask
    variance = centred.square().sum(1, keepdim=True) / count
    return (centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias).to(x.dtype)


class PositionalConvolution(nn.Module):
    """Grouped convolution over time, as a position embedding: (batch, frames, d) -> the same shape."""

    def __init__(self, embedding: nn.Module, dtype: torch.dtype, norm: nn.LayerNorm | None = None):
        super().__init__()
        conv, self.norm = embedding.conv, norm
        self.batch_norm = getattr(embedding, "batch_norm", None)
        self.conv = PositionalConv1d(conv, dtype)
        self.activation = embedding.activation

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if self.batch_norm is not None:
            x = self.batch_norm(x.transpose(1, 2).float()).transpose(1, 2).to(x.dtype)
        x = self.conv(x)
        return self.activation(x if self.norm is None else self.norm(x.float()).to(x.dtype))


class PositionalStack(nn.Module):
    """data2vec-audio's position embedding: several narrow convolutions, each with norm and activation.

    Source: Baevski et al., "data2vec: A general framework for self-supervised learning in speech, vision and
    language", ICML 2022, section 3.1.
    """

    def __init__(self, embedding: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.layers = nn.ModuleList(
            PositionalConvolution(layer, dtype, norm=layer.layer_norm) for layer in embedding.layers
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, frames, d), and real frames of each unless all are -> the same shape."""
        for number, layer in enumerate(self.layers):
            if number and lengths is not None:  # the next convolution sees what stands behind real frames
                x = x * frame_mask(lengths, x.shape[1]).unsqueeze(-1)
            x = layer(x, lengths)
        return x
