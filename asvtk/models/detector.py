"""The detector: front-end, back-end and loss head, from waveform to score."""

import contextlib
import itertools
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.frontends.base import Crop, Features, FrontEnd
from asvtk.io.recording import to_mono_16k
from asvtk.models.base import BackEnd, Batch, Output

__all__ = ["Detector"]

#: utterances that ``score_batch`` computes at once; AASIST takes a quarter of a GB for each
BATCH_SIZE = 8


class Detector(nn.Module):
    """Detector from waveform to score: all that a checkpoint and a package hold.

    ``asvtk.load`` gives a trained one; a fresh one is made of its parts:

    >>> import numpy as np
    >>> from asvtk.frontends.lfcc import Lfcc, LfccConfig
    >>> from asvtk.models import assemble
    >>> from asvtk.models.moe_mamba import MoeMambaConfig
    >>> from asvtk.nn.losses import OcSoftmaxConfig
    >>> detector = assemble(Lfcc(LfccConfig()), MoeMambaConfig(d_model=16, blocks=1), OcSoftmaxConfig())
    >>> noise = np.random.default_rng(0).normal(size=24_000)
    >>> detector.score(0.1 * noise, sample_rate=48_000) <= 1  # a cosine: higher = bona fide
    True
    >>> detector.score_batch([0.1 * noise, np.ones(8_000)]).shape
    torch.Size([2])

    Args:
        frontend: audio -> features. Its frozen part is in no checkpoint: `FrontEnd.load` reads it.
        model: the back-end: features, audio or both -> embedding.
        loss: the loss head, with ``forward(embedding, bonafide)`` and ``score(embedding)``.
    """

    def __init__(self, frontend: FrontEnd, model: BackEnd, loss: nn.Module):
        super().__init__()
        self.frontend, self.model, self.loss = frontend, model, loss

    def forward(self, batch: Batch, bonafide: Tensor) -> Tensor:
        """The training loss of a batch as data sets give it, a scalar; ``bonafide`` is bool (batch,)."""
        output = self.embed(batch)
        return self.loss(output.embedding, bonafide) + output.auxiliary

    def embed(self, batch: Batch) -> Output:
        """Embeddings of a batch as data sets give it."""
        return self.model(self.heard(batch))

    def heard(self, batch: Batch) -> Batch:
        """What the back-end hears of a batch as data sets give it."""
        if not self.model.uses_features:
            return batch
        features = self.features(batch)
        return batch._replace(features=features.x, lengths=features.lengths)

    def features(self, batch: Batch) -> Features:
        """What the front-end makes of what stands at its cut: stored layers, or prepared audio."""
        stored = batch.features.ndim == 4
        return (self.frontend.from_cut if stored else self.frontend)(batch.features, batch.lengths)

    def score_prepared(self, batch: Batch) -> Tensor:
        """Scores of a batch as data sets give it, higher = bona fide: (batch,)."""
        return self.loss.score(self.embed(batch).embedding)

    def score(self, audio, sample_rate: int = 16_000) -> float:
        """Score of a recording, higher = bona fide.

        Args:
            audio: samples of an array or tensor, shape (samples,) or (samples, channels): floats in [-1, 1],
                or integers of any width. As much of it is heard as the front-end's crop says.
            sample_rate: Hz.

        Raises:
            AsvtkError: there are no samples, or they are not finite.
        """
        return self.score_batch([audio], sample_rate)[0].item()

    @torch.inference_mode()
    def score_batch(self, audios: Iterable, sample_rate: int = 16_000) -> Tensor:
        """Scores of recordings, higher = bona fide: float32 (recordings,) on the CPU.

        A recording gets what it gets alone, but for rounding; the iterable is read as it is needed. Nothing
        is written to the disk.

        Args:
            audios: as ``score`` takes them.
            sample_rate: Hz, of all.

        Raises:
            AsvtkError: a recording has no samples, or such as are not finite.
        """
        audios, scores = iter(audios), []
        with self.evaluating():
            while recordings := [to_mono_16k(x, sample_rate) for x in itertools.islice(audios, BATCH_SIZE)]:
                scores.append(self.score_prepared(self.prepare(recordings)).float().cpu())
        return torch.cat(scores) if scores else torch.zeros(0)

    @contextlib.contextmanager
    def evaluating(self):
        """In evaluation mode: without dropout, and so on."""
        training = self.training
        if training:
            self.eval()
        try:
            yield
        finally:
            if training:
                self.train()

    def prepare(self, audios: list[np.ndarray]) -> Batch:
        """A batch of 16 kHz mono audio, float32 (samples,) each, on the detector's device."""
        features = lengths = audio = samples = None
        if self.model.uses_features:
            features, lengths = _padded([self.frontend.prepare(x) for x in audios])
        if self.model.uses_audio:
            audio, samples = _padded([self.frontend.hear(x) for x in audios])
        return Batch(features, lengths, audio, samples).to(self.device)

    @property
    def crop(self) -> Crop:
        """How much of a recording a score is of."""
        return self.frontend.crop

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def _padded(rows: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    padded = nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)
    return padded, torch.tensor([len(row) for row in rows])
