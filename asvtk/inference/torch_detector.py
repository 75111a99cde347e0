"""Trained detectors that torch computes."""

import functools

import numpy as np
import torch

from asvtk.inference.detector import RecordingDetector
from asvtk.inference.windows import Workers
from asvtk.io.errors import AsvtkError
from asvtk.models.detector import Detector

__all__ = ["TorchDetector"]


class TorchDetector(Detector, RecordingDetector):
    """Trained detector as a torch module."""

    @classmethod
    def of(cls, detector: Detector) -> "TorchDetector":
        """The same detector; nothing is copied."""
        return cls(detector.frontend, detector.model, detector.loss).train(detector.training)

    @torch.inference_mode()
    def score_windows(self, windows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        with self.evaluating():
            embedding = self.embed(self.prepare(windows)).embedding
            scores = self.loss.score(embedding).double().cpu().numpy()
        if not np.isfinite(scores).all():
            raise AsvtkError("a score is not finite; look at the recording, and at the detector's weights")
        return scores, embedding.float().cpu().numpy()

    def workers(self, most: int) -> Workers:
        if self.device.type != "cpu":  # batches follow each other on a GPU
            return Workers()
        threads = torch.get_num_threads()
        count = min(threads, most)
        return Workers(count, functools.partial(torch.set_num_threads, threads // count))

    def use_threads(self, count: int) -> None:
        torch.set_num_threads(count)
