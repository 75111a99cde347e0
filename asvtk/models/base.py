"""Interface of back-ends: a batch of features, audio, or both -> embeddings."""

import abc
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from asvtk.nn.pooling import GlobalMvn

__all__ = ["BackEnd", "Batch", "FittedBackEnd", "Output"]


class Batch(NamedTuple):
    """Features or audio of a batch, with real lengths; what a back-end does not use may be None.

    As data sets give it, features are what stands at the front-end's cut: the layers stored there with their
    frames, or prepared audio (batch, samples) with its samples. ``Detector`` makes the rest.
    """

    features: Tensor | None  # of the front-end, (batch, layers, frames, d), padded with anything finite
    lengths: Tensor | None  # real frames, (batch,)
    audio: Tensor | None  # samples in [-1, 1), (batch, samples), padded with zeros
    samples: Tensor | None  # real samples, (batch,)

    def to(self, device) -> "Batch":
        return Batch(*(x if x is None else x.to(device, non_blocking=True) for x in self))


class Output(NamedTuple):
    """Embeddings of a batch, and a loss of the back-end's own."""

    embedding: Tensor  # (batch, d_embedding)
    auxiliary: Tensor  # (), weighted losses of the back-end's own, such as load balance


class BackEnd(nn.Module, abc.ABC):
    """Back-end: a front-end's features, the audio itself, or both -> one embedding an utterance.

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
    def forward(self, batch: Batch) -> Output:
        """Embeddings, which depend neither on the batch's composition nor on padding."""


class FittedBackEnd(BackEnd):
    """Back-end whose parameters are solved for, and not trained step by step.

    Training, which must have a single epoch, takes the summary of every utterance as that epoch hears it,
    and fits once. The loss head must have no parameters, as nothing would train them.
    """

    @abc.abstractmethod
    def summary(self, batch: Batch) -> Tensor:
        """All that ``fit`` wants to know of each utterance: (batch, d_summary)."""

    @abc.abstractmethod
    def fit(self, summaries: Tensor, bonafide: Tensor, groups: Sequence[str]) -> tuple[float, str]:
        """Solve for the parameters; a function of its arguments alone.

        Args:
            summaries: of the training set, float32 (utterances, d_summary), on the CPU.
            bonafide: True for bona fide, (utterances,).
            groups: speaker of each, or what else must not be on both sides of a cross-validation.

        Returns:
            the mean loss on the training set, and how the solution was come by, in words.
        """
