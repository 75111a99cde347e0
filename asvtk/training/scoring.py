"""Scores of a data set under a detector."""

import torch
from torch import nn

from asvtk.training.data import FeatureDataset, load_batches

__all__ = ["score_dataset"]


@torch.inference_mode()
def score_dataset(detector: nn.Module, dataset: FeatureDataset, batch_size: int, device: str) -> list[float]:
    """Scores in the order of ``dataset.utterances``; higher = bona fide. Sets evaluation mode."""
    detector.eval()
    scores = []
    for features, lengths, _ in load_batches(dataset, list(range(len(dataset))), batch_size, device):
        scores += detector.score(features, lengths).tolist()
    return scores
