"""What every system is: an utterance in, an embedding out; and the detector that a loss makes of it."""

import abc
from typing import NamedTuple

from torch import Tensor, nn

from asvtk.nn.pooling import GlobalMvn

__all__ = ["Detector", "Inputs", "Output", "System"]


class Inputs(NamedTuple):
    """A batch as systems hear it; what a system does not use may be None.

    As data sets give it, a front-end that runs with the system has yet to make the features of what stands
    in their place.
    """

    features: Tensor | None  # of the front-end, (batch, layers, frames, d), padded with anything finite
    lengths: Tensor | None  # real frames, (batch,)
    audio: Tensor | None  # samples in [-1, 1), (batch, samples), padded with zeros
    samples: Tensor | None  # real samples, (batch,)

    def to(self, device) -> "Inputs":
        return Inputs(*(x if x is None else x.to(device, non_blocking=True) for x in self))


class Output(NamedTuple):
    """What a system returns."""

    embedding: Tensor  # (batch, d_embedding)
    auxiliary: Tensor  # (), weighted losses of the system's own, such as load balance


class System(nn.Module, abc.ABC):
    """A system: a front-end's features, the audio itself, or both -> an embedding.

    Its constructor takes its configuration and the shape of the features: how many layers, and how
    many numbers a frame (0 and 0 where the front-end has none).

    Attributes:
        uses_features, uses_audio: what it hears.
        d_embedding: width of its embeddings.
        mvn: where it uses features, what normalises them; its statistics are taken on the training
            set before training.
    """

    uses_features = True
    uses_audio = False
    d_embedding: int
    mvn: GlobalMvn

    @abc.abstractmethod
    def forward(self, inputs: Inputs) -> Output:
        """Embed a batch. What an utterance gets depends neither on its company nor on padding."""


class Detector(nn.Module):
    """A system and its loss: all that a checkpoint holds, and all that scoring needs.

    Args:
        model: the system.
        loss: a loss with ``forward(embedding, bonafide)`` and ``score(embedding)``.
        frontend: where it runs with the system, what makes features: (given, lengths) -> (features, lengths).
    """

    def __init__(self, model: System, loss: nn.Module, frontend: nn.Module | None = None):
        super().__init__()
        self.model = model
        self.loss = loss
        self.frontend = frontend

    def forward(self, inputs: Inputs, bonafide: Tensor) -> Tensor:
        """The training loss of a batch, a scalar."""
        output = self.embed(inputs)
        return self.loss(output.embedding, bonafide) + output.auxiliary

    def embed(self, inputs: Inputs) -> Output:
        """What the system makes of a batch as data sets give it."""
        if self.frontend is not None:
            features, lengths = self.frontend(inputs.features, inputs.lengths)
            inputs = inputs._replace(features=features, lengths=lengths)
        return self.model(inputs)

    def score(self, inputs: Inputs) -> Tensor:
        """Scores, higher = bona fide: (batch,)."""
        return self.loss.score(self.embed(inputs).embedding)
