"""Trained detectors that torch computes."""

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asvtk.frontends.base import Extension
from asvtk.inference.detector import RecordingDetector
from asvtk.inference.windows import Workers
from asvtk.io.errors import AsvtkError
from asvtk.models.base import Batch
from asvtk.models.detector import Detector

__all__ = ["TorchDetector"]


class TorchDetector(Detector, RecordingDetector):
    """Trained detector as a torch module."""

    @classmethod
    def of(cls, detector: Detector) -> "TorchDetector":
        """The same detector; nothing is copied."""
        return cls(detector.frontend, detector.model, detector.loss).train(detector.training)

    @torch.inference_mode()
    def score_windows(self, windows: list[np.ndarray | Tensor]) -> tuple[np.ndarray, np.ndarray]:
        with self.evaluating():
            embedding = self.model(self._heard(windows)).embedding
            scores = self.loss.score(embedding).double().cpu().numpy()
        if not np.isfinite(scores).all():
            raise AsvtkError("a score is not finite; look at the recording, and at the detector's weights")
        return scores, embedding.float().cpu().numpy()

    def _heard(self, windows: list[np.ndarray | Tensor]) -> Batch:
        """What the back-end hears of windows, some of which are features already."""
        audio = [x for x in windows if not isinstance(x, Tensor)]
        if len(audio) == len(windows):
            return self.heard(self.prepare(windows))
        features = iter(())
        if audio:
            x, lengths = self.features(self.prepare(audio))
            features = (row[:, :length] for row, length in zip(x, lengths.tolist(), strict=True))
        rows = [x if isinstance(x, Tensor) else next(features) for x in windows]
        padded = pad_sequence([row.transpose(0, 1) for row in rows], batch_first=True).transpose(1, 2)
        return Batch(padded, torch.tensor([row.shape[1] for row in rows]), None, None)

    def extension(self, samples: int) -> Extension | None:
        if self.device.type != "cpu" or not self.model.uses_features or self.model.uses_audio:
            return None
        return self.frontend.extension(samples)

    def workers(self, most: int) -> Workers:
        if self.device.type != "cpu":  # batches follow each other on a GPU
            return Workers()
        threads = torch.get_num_threads()
        count = min(threads, most)
        return Workers(count, functools.partial(torch.set_num_threads, threads // count))

    def use_threads(self, count: int) -> None:
        torch.set_num_threads(count)
