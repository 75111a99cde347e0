"""Multi-head factorised attentive pooling (MHFA).

Layers are summed twice, with weights for where to look and with weights for what to take; both sequences are
compressed, and each head pools the second one by its own attention to the first.

Source: Peng et al., "An attention-based backend allowing efficient fine-tuning of transformer models for
speaker verification", SLT 2022 (arXiv 2210.01273). Against spoofing: Stourbe et al., "Exploring WavLM
back-ends for speech spoofing and deepfake detection", ASVspoof 2024 workshop.
"""

import torch
from torch import nn

from asvtk.models.backend_config import MhfaConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.nn.frames import frame_mask
from asvtk.nn.pooling import GlobalMvn, build_layer_sum

__all__ = ["Mhfa", "MhfaConfig"]


class Mhfa(BackEnd):
    """MHFA back-end, for features of ``layers`` layers with ``d_in`` numbers a frame."""

    Config = MhfaConfig

    def __init__(self, config: MhfaConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.key_sum, self.value_sum = build_layer_sum(layers), build_layer_sum(layers)
        # Neither keys nor scores have a bias: a softmax over frames would undo it.
        self.key = nn.Linear(d_in, config.d_compressed, bias=False)
        self.value = nn.Linear(d_in, config.d_compressed)
        self.attention = nn.Linear(config.d_compressed, config.heads, bias=False)
        self.embedding = nn.Linear(config.heads * config.d_compressed, config.d_embedding)

    def forward(self, batch: Batch) -> Output:
        features = self.mvn(batch.features)
        keys, values = self.key(self.key_sum(features)), self.value(self.value_sum(features))
        mask = frame_mask(batch.lengths, keys.shape[1]).unsqueeze(2)
        scores = self.attention(keys).float().masked_fill(~mask, -torch.inf)  # (batch, frames, heads)
        pooled = scores.softmax(1).to(values.dtype).transpose(1, 2) @ values
        embedding = self.embedding(pooled.flatten(1))
        return Output(embedding, embedding.new_zeros(()))
