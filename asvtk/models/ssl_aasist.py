"""AASIST on the features of a front-end, such as a layer of XLS-R, which is known as SSL-AASIST.

Projection of each frame -> the map of projected features and frames, max-pooled 3 x 3 -> residual CNN ->
attentive pooling to bands and to moments -> AASIST's graphs.

Source: Tak et al., "Automatic speaker verification spoofing and deepfake detection using wav2vec 2.0 and data
augmentation", Odyssey 2022 (arXiv 2202.12233); the graphs are those of ``asvtk.models.aasist``.
On one middle layer of a frozen XLS-R-300M it is the head of Xie et al., "The Codecfake dataset and
countermeasures for the universally detection of deepfake audio", arXiv 2405.04880.

The published head has 447,242 parameters and this one, with its loss head, 445,546: it goes without the 512
of norms whose output is thrown away, and without 1,184 biases that a softmax, a batch norm or another
bias makes idle. It computes what the published one can, and each of its parameters has a gradient.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.models.aasist import GraphBackEnd, SingleChannelNorm
from asvtk.models.backend_config import SslAasistConfig
from asvtk.models.base import Batch, Output
from asvtk.nn.frames import by_length
from asvtk.nn.pooling import GlobalMvn, build_layer_sum

__all__ = ["SslAasist", "SslAasistConfig"]


class SslAasist(GraphBackEnd):
    """AASIST back-end, for features of ``layers`` layers with ``d_in`` numbers a frame.

    Of several layers it takes a learned weighted sum. Utterances of any length: those that are padded are
    computed with their equals in length, as in ``Aasist``.
    """

    Config = SslAasistConfig

    def __init__(self, config: SslAasistConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.mvn = GlobalMvn(layers, d_in)
        self.layer_sum = build_layer_sum(layers)
        self.projection = nn.Linear(d_in, config.d_projection)
        self.first_bn = SingleChannelNorm()
        widths = (1, *config.channels)
        self.encoder = nn.Sequential(*map(ResidualBlock, widths[:-1], widths[1:]))
        self.encoder[-1].conv2.bias = None  # the norm behind it would undo it
        width = widths[-1]
        self.last_bn = nn.BatchNorm2d(width)
        # From the norm on there is no bias: it would shift all scores of a softmax alike.
        self.attention = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1),
            nn.SELU(),
            nn.BatchNorm2d(2 * width),
            nn.Conv2d(2 * width, width, 1, bias=False),
        )
        self.attention[2].bias = None
        self._add_graph(config, config.d_projection // 3, width, bias=False)

    def forward(self, batch: Batch) -> Output:
        x = self.projection(self.layer_sum(self.mvn(batch.features)))
        embedding = by_length(self._embed, x, batch.lengths)
        return Output(embedding, embedding.new_zeros(()))

    def _embed(self, x: Tensor) -> Tensor:
        """(batch, frames, d_projection) -> (batch, d_embedding)."""
        # An incomplete group of three at the end is a moment, too: the shortest utterance has one.
        x = F.pad(x, (0, 0, 0, -x.shape[1] % 3), value=-torch.inf)
        image = F.max_pool2d(x.transpose(1, 2).unsqueeze(1), 3)  # (batch, 1, bands, moments)
        image = F.selu(self.last_bn(self.encoder(F.selu(self.first_bn(image)))))
        scores = self.attention(image)
        spectral = (image * scores.softmax(3)).sum(3)
        temporal = (image * scores.softmax(2)).sum(2)
        return self._read_out(spectral.transpose(1, 2), temporal.transpose(1, 2))


class ResidualBlock(nn.Module):
    """AASIST's residual block without its pooling: (batch, c_in, bands, moments) -> c_out channels.

    Only the last convolution has a bias: behind the first one stands a norm, and the shortcut is added to it.
    """

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, (2, 3), padding=(1, 1), bias=False)
        self.norm = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, (2, 3), padding=(0, 1))
        self.shortcut = nn.Identity()
        if c_in != c_out:
            self.shortcut = nn.Conv2d(c_in, c_out, (1, 3), padding=(0, 1), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.selu(self.norm(self.conv1(x)))) + self.shortcut(x)
