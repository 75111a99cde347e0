"""AASIST and AASIST-L (S5): graph attention over the spectrum and time of the audio.

Audio -> fixed sinc filters -> residual CNN -> one graph of frequency bands, one of moments ->
two stacks of heterogeneous graph attention over both -> embedding.

Source: Jung et al., "AASIST: audio anti-spoofing using integrated spectro-temporal graph attention
networks", ICASSP 2022 (arXiv 2110.01200). With the published weights (``load_published``) it gives
the scores of the authors' own code. The defaults of ``AasistConfig`` are AASIST; AASIST-L has other
widths and pooling ratios.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError
from asvtk.models.backend_config import AasistConfig, GraphConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.nn.exporting import is_exporting
from asvtk.nn.frames import by_length
from asvtk.nn.graph_attention import GraphAttention, GraphPool, HeterogeneousGraphAttention
from asvtk.nn.sinc import PooledSincBank

__all__ = ["Aasist", "AasistConfig", "GraphBackEnd", "GraphConfig"]

_PART = 768  # frames of an image that a CPU computes at a time: the fastest of 192 to 6144 by steps of two


class GraphBackEnd(BackEnd):
    """Spectro-temporal graph attention, which AASIST on audio and AASIST on features share.

    One graph of bands, one of moments; two equal stacks over both compete, the stronger number wins.
    """

    def _add_graph(self, config: GraphConfig, bands: int, width: int, bias: bool = True) -> None:
        """Make the graph's modules.

        Args:
            config: its widths, ratios and temperatures.
            bands: spectral nodes.
            width: of the nodes that come in.
            bias: as in ``GraphAttention``.
        """
        self.d_embedding = 5 * config.d_stack
        self.spectral_position = nn.Parameter(torch.randn(1, bands, width))
        self.spectral_attention = GraphAttention(
            width, config.d_graph, config.spectral_temperature, bias=bias
        )
        self.temporal_attention = GraphAttention(
            width, config.d_graph, config.temporal_temperature, bias=bias
        )
        self.spectral_pool = GraphPool(config.d_graph, config.spectral_ratio)
        self.temporal_pool = GraphPool(config.d_graph, config.temporal_ratio)
        self.stacks = nn.ModuleList(Stack(config, bias) for _ in range(2))
        self.stack_dropout = nn.Dropout(0.2)
        self.embedding_dropout = nn.Dropout(0.5)

    def _read_out(self, spectral: Tensor, temporal: Tensor) -> Tensor:
        """Nodes (batch, bands, width) and (batch, moments, width) -> (batch, d_embedding)."""
        spectral = self.spectral_pool(self.spectral_attention(spectral + self.spectral_position))
        temporal = self.temporal_pool(self.temporal_attention(temporal))
        results = [map(self.stack_dropout, stack(temporal, spectral)) for stack in self.stacks]
        temporal, spectral, master = (torch.maximum(a, b) for a, b in zip(*results, strict=True))
        embedding = torch.cat(
            [
                temporal.abs().amax(1),
                temporal.mean(1),
                spectral.abs().amax(1),
                spectral.mean(1),
                master.squeeze(1),
            ],
            dim=1,
        )
        return self.embedding_dropout(embedding)


class Aasist(GraphBackEnd):
    """AASIST back-end; it hears audio and no features."""

    Config = AasistConfig

    uses_features = False
    uses_audio = True

    def __init__(self, config: AasistConfig, layers: int = 0, d_in: int = 0):
        super().__init__()
        self.config = config
        #: the shortest audio that leaves one moment: the filters, then one third and again
        self.min_samples = config.taps - 1 + 3 ** (1 + len(config.channels))
        self.bank = PooledSincBank(config.filters, config.taps, config.max_masked, SAMPLE_RATE)
        self.first_bn = SingleChannelNorm()
        widths = (1, *config.channels)
        self.encoder = nn.Sequential(*map(ResidualBlock, widths[:-1], widths[1:]))
        self._add_graph(config, self.bank.rows, widths[-1])

    def forward(self, batch: Batch) -> Output:
        """Embed audio of at least ``min_samples`` samples; ``samples`` None: no row is padded.

        Rows that are padded are computed with their equals in length (``by_length``).

        Raises:
            AsvtkError: the audio is too short.
        """
        embedding = by_length(self._embed, batch.audio, batch.samples)
        return Output(embedding, embedding.new_zeros(()))

    def _embed(self, audio: Tensor) -> Tensor:
        """(batch, samples) -> (batch, d_embedding)."""
        if audio.shape[1] < self.min_samples:
            raise AsvtkError(
                f"model aasist: an utterance of {audio.shape[1]} samples, expected at least "
                f"{self.min_samples}; let frontend.crop.repeat be true"
            )
        image = F.selu(self.first_bn(self.bank(audio).unsqueeze(1)))
        if not _learns_on_cpu(image):
            # Stored with the channels last, as the convolutions of GPUs and CPUs want it; with a single
            # channel only the strides tell, and ``contiguous`` would leave them.
            image = image.squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)
        magnitudes = self.encoder(image).abs()  # (batch, channels, bands, moments)
        return self._read_out(magnitudes.amax(3).transpose(1, 2), magnitudes.amax(2).transpose(1, 2))


class ResidualBlock(nn.Module):
    """Two convolutions around batch norm and SELU, beside a shortcut; then time is pooled by 3.

    (batch, c_in, bands, frames) -> (batch, c_out, bands, frames // 3).
    """

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        # Its output is used nowhere. The published graph has it in every block but the first, so
        # weights carry it, and its running statistics move in training as they do there.
        self.bn1 = nn.BatchNorm2d(c_in) if c_in > 1 else None
        self.conv1 = nn.Conv2d(c_in, c_out, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, (2, 3), padding=(0, 1))
        self.conv_downsample = nn.Conv2d(c_in, c_out, (1, 3), padding=(0, 1)) if c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.bn1 is not None:
            with torch.no_grad():
                self.bn1(x)
        by_parts = x.device.type == "cpu" and not self.training and not torch.is_grad_enabled()
        if not by_parts or is_exporting():
            return self._pooled(x)
        # All of an image goes through a CPU's memory at each step; a part of it stays in the cache. A part is
        # computed with the frames that its convolutions see on either side: nothing changes but rounding.
        frames, parts = x.shape[3] - x.shape[3] % 3, []
        for begin in range(0, frames, _PART):
            before = 3 if begin else 0
            pooled = self._pooled(x[..., begin - before : begin + _PART + 3])[..., before // 3 :]
            parts.append(pooled[..., : min(_PART, frames - begin) // 3])
        return torch.cat(parts, 3)

    def _pooled(self, x: Tensor) -> Tensor:
        hidden = F.selu(self._convolve_and_normalise(x), inplace=True)
        shortcut = x
        if (conv := self.conv_downsample) is not None:
            shortcut = _convolve(x, conv.weight, conv.bias, conv.padding)
        # In place, as no gradient needs what a convolution gave: images take most of the time and memory.
        return F.max_pool2d(self.conv2(hidden).add_(shortcut), (1, 3))

    def _convolve_and_normalise(self, x: Tensor) -> Tensor:
        conv, norm = self.conv1, self.bn2
        if self.training:
            return norm(_convolve(x, conv.weight, conv.bias, conv.padding))
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = conv.weight * scale[:, None, None, None]
        return _convolve(x, weight, (conv.bias - norm.running_mean) * scale + norm.bias, conv.padding)


def _learns_on_cpu(x: Tensor) -> bool:
    """Whether gradients may be asked of ``x`` on a CPU; its images are then stored with the channels first.

    With the channels last, a convolution's gradients took a CPU three to four times as long.
    """
    return x.device.type == "cpu" and torch.is_grad_enabled()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int]) -> Tensor:
    """``conv2d``; that of a single channel as a matrix product of written-out patches.

    cuDNN has no good kernel for a single channel: two such convolutions were a third of a GPU's step. An
    exported graph has the convolution: written-out patches would be a table of all indices. So has training
    on a CPU: the product's channels come last.
    """
    if x.shape[1] > 1 or is_exporting() or _learns_on_cpu(x):
        return F.conv2d(x, weight, bias, padding=padding)
    above, beside = padding
    image = F.pad(x.squeeze(1), (beside, beside, above, above))
    patches = image.unfold(1, weight.shape[2], 1).unfold(2, weight.shape[3], 1).flatten(3)
    return F.linear(patches, weight.flatten(1), bias).permute(0, 3, 1, 2)


class SingleChannelNorm(nn.BatchNorm2d):
    """Batch norm of one channel, with the parameters of ``BatchNorm2d(1)``.

    cuDNN gives a channel to one block of threads: with one channel that was a sixth of a GPU's step.
    """

    def __init__(self):
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        x = x.float()  # whatever autocast made of it: statistics of millions of numbers
        variance, mean = torch.var_mean(x, correction=0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            # Without a momentum, torch's convention is the mean over all batches.
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * x.numel() / (x.numel() - 1), share)
        return (x - mean) * ((variance + self.eps).rsqrt() * self.weight) + self.bias


class Stack(nn.Module):
    """Two layers of heterogeneous attention over both graphs, and the master node they start from."""

    def __init__(self, config: GraphConfig, bias: bool = True):
        super().__init__()
        d_in, d, temperature = config.d_graph, config.d_stack, config.stack_temperature
        self.master = nn.Parameter(torch.randn(1, 1, d_in))
        self.first = HeterogeneousGraphAttention(d_in, d, temperature, bias=bias)
        self.temporal_pool = GraphPool(d, config.stack_ratio)
        self.spectral_pool = GraphPool(d, config.stack_ratio)
        self.second = HeterogeneousGraphAttention(d, d, temperature, bias=bias)

    def forward(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes (batch, nodes, d_graph) -> those kept, and the master (batch, 1, d_stack)."""
        temporal, spectral, master = self.first(temporal, spectral, self.master)
        temporal, spectral = self.temporal_pool(temporal), self.spectral_pool(spectral)
        more = self.second(temporal, spectral, master)
        return temporal + more[0], spectral + more[1], master + more[2]
