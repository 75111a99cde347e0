"""Attentive merging of layers (AttM): layers gated by what an utterance has in them, side by side.

Mean over time of each layer -> one number a layer -> a bottleneck over all layers -> a gate in (0, 1) for
each layer -> gated layers side by side, projected to one narrow sequence -> bidirectional LSTM -> attentive
statistics over time -> embedding.

Source: Pan et al., "Attentive merging of hidden embeddings from pre-trained speech model for anti-spoofing
detection", Interspeech 2024 (arXiv 2406.10283), whose best systems hear the first 12 layers of WavLM-Large.
The gates are theirs; the projection and what follows it are this toolkit's, of about the published size.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.models.backend_config import AttentiveLayersConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.nn.frames import frame_mask
from asvtk.nn.mixers import BiLstm
from asvtk.nn.pooling import AttentiveStatisticsPooling, GlobalMvn

__all__ = ["AttentiveLayers", "AttentiveLayersConfig"]


class AttentiveLayers(BackEnd):
    """Attentive-merging back-end, for features of ``layers`` layers with ``d_in`` numbers a frame."""

    Config = AttentiveLayersConfig

    def __init__(self, config: AttentiveLayersConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.gates = LayerGates(layers, d_in)
        self.projection = nn.Linear(layers * d_in, config.d_model)
        self.lstm = BiLstm(config.d_model)
        self.pooling = AttentiveStatisticsPooling(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Linear(2 * config.d_model, config.d_embedding)

    def forward(self, batch: Batch) -> Output:
        features = self.mvn(batch.features)
        mask = frame_mask(batch.lengths, features.shape[2])
        gated = features * self.gates(features, mask)[:, :, None, None]
        x = F.silu(self.projection(gated.transpose(1, 2).flatten(2)))
        x = x + self.lstm(x, batch.lengths)
        embedding = self.embedding(self.dropout(self.pooling(x, mask)))
        return Output(embedding, embedding.new_zeros(()))


class LayerGates(nn.Module):
    """Squeeze and excitation over layers: a gate in (0, 1) for each layer of an utterance."""

    def __init__(self, layers: int, d_in: int):
        super().__init__()
        self.squeeze = nn.Linear(d_in, 1, bias=False)
        hidden = max(layers // 2, 1)
        self.excite = nn.Sequential(
            nn.Linear(layers, hidden, bias=False), nn.SiLU(), nn.Linear(hidden, layers, bias=False)
        )

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(batch, layers, frames, d) and the mask of real frames -> (batch, layers)."""
        real = mask[:, None, :, None]
        means = (features * real).sum(2) / mask.sum(1).view(-1, 1, 1)
        return self.excite(F.silu(self.squeeze(means).squeeze(-1))).sigmoid()
