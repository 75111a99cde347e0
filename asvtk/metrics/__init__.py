"""Detection metrics: numpy only, no torch, no audio. Higher score = bona fide, everywhere."""

from asvtk.metrics.evaluation import evaluate

__all__ = ["evaluate"]
