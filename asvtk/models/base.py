"""What every system is: features in, an embedding out; and the detector that a loss makes of it."""

from typing import NamedTuple

from torch import Tensor, nn

__all__ = ["Detector", "Output"]


class Output(NamedTuple):
    """What a system returns."""

    embedding: Tensor  # (batch, d_embedding)
    auxiliary: Tensor  # (), weighted losses of the system's own, such as load balance


class Detector(nn.Module):
    """A system and its loss: all that a checkpoint holds, and all that scoring needs.

    Args:
        model: a system with ``d_embedding`` and ``forward(features, lengths) -> Output``.
        loss: a loss with ``forward(embedding, bonafide)`` and ``score(embedding)``.
    """

    def __init__(self, model: nn.Module, loss: nn.Module):
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, features: Tensor, lengths: Tensor, bonafide: Tensor) -> Tensor:
        """The training loss of a batch, a scalar."""
        output = self.model(features, lengths)
        return self.loss(output.embedding, bonafide) + output.auxiliary

    def score(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Scores, higher = bona fide: (batch,)."""
        return self.loss.score(self.model(features, lengths).embedding)
