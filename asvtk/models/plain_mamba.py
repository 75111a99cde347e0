"""Plain Mamba (S2): blocks of bidirectional Mamba.

One layer of the front-end, or a learned weighted sum of several -> projection -> blocks of
bidirectional Mamba, the two directions summed -> pooling over time -> embedding. On WavLM's last
layer it is the reports' WavLM-Mamba; it takes the features of any front-end.
"""

from asvtk.models.backend_config import PlainMambaConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.models.mamba_blocks import EmbeddingHead, FeatureProjection, MixerStack
from asvtk.nn.pooling import GlobalMvn

__all__ = ["PlainMamba", "PlainMambaConfig"]


class PlainMamba(BackEnd):
    """Plain Mamba back-end, for features of ``layers`` layers with ``d_in`` numbers a frame."""

    Config = PlainMambaConfig

    def __init__(self, config: PlainMambaConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.features = FeatureProjection(layers, d_in, config.stack, config.d_model)
        self.blocks = MixerStack(config)
        self.head = EmbeddingHead(config)

    def forward(self, batch: Batch) -> Output:
        x, lengths = self.features(self.mvn(batch.features), batch.lengths)
        x = self.blocks(x, lengths)
        return Output(self.head(x, lengths), x.new_zeros(()))
