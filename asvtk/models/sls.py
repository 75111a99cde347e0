"""Sensitive layer selection (SLS): each layer gated by what an utterance has in it, then one hidden layer.

Mean over time of each layer -> a gate in (0, 1) for each -> sum of the gated layers -> batch norm of the
map -> max-pooling 3 x 3 -> one hidden layer over the whole map.

Source: Zhang, Wen and Hu, "Audio deepfake detection with self-supervised XLS-R and SLS classifier", ACM
Multimedia 2024.

The published hidden layer reads 67 columns of three frames: it fits 201 frames and nothing else. Here an
utterance of any length is cut into ``columns`` parts as equal as can be, and the largest number of each part
counts: of 201 frames these are the published columns, and every parameter is the published one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.models.backend_config import SlsConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.nn.frames import frame_mask
from asvtk.nn.masked_norm import MaskedMapNorm
from asvtk.nn.pooling import GlobalMvn

__all__ = ["Sls", "SlsConfig"]


class Sls(BackEnd):
    """SLS back-end, for features of ``layers`` layers with ``d_in`` numbers a frame, 3 or more."""

    Config = SlsConfig

    def __init__(self, config: SlsConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.gate = nn.Linear(d_in, 1)
        self.norm = MaskedMapNorm()
        self.hidden = nn.Linear(config.columns * (d_in // 3), config.d_embedding)

    def forward(self, batch: Batch) -> Output:
        features, lengths = self.mvn(batch.features), batch.lengths
        mask = frame_mask(lengths, features.shape[2])
        means = (features * mask[:, None, :, None]).sum(2) / lengths.view(-1, 1, 1)
        gates = self.gate(means).sigmoid().squeeze(-1)  # (batch, layers)
        x = F.selu(self.norm(torch.einsum("bl,bltd->btd", gates, features), mask))
        x = max_over_parts(F.max_pool1d(x, 3), lengths, self.config.columns)
        embedding = F.selu(self.hidden(x.flatten(1)))
        return Output(embedding, embedding.new_zeros(()))


def max_over_parts(x: Tensor, lengths: Tensor, parts: int) -> Tensor:
    """The largest numbers of each of so many parts of a sequence; parts of less than a frame share frames.

    Args:
        x: shape (batch, frames, d).
        lengths: real frames, shape (batch,).
        parts: how many; part i begins with frame floor(i * length / parts) and ends before frame
            ceil((i + 1) * length / parts).

    Returns:
        shape (batch, parts, d).
    """
    number = torch.arange(parts, device=x.device)
    begin = number * lengths.unsqueeze(1) // parts  # (batch, parts)
    end = -(-(number + 1) * lengths.unsqueeze(1) // parts)
    longest = -(-x.shape[1] // parts) + 1
    # A part that is shorter than the longest one has its last frame again, which changes no maximum.
    frames = (begin.unsqueeze(2) + torch.arange(longest, device=x.device)).minimum(end.unsqueeze(2) - 1)
    taken = x.gather(1, frames.flatten(1).unsqueeze(2).expand(-1, -1, x.shape[2]))
    return taken.unflatten(1, (parts, longest)).amax(2)
