"""Scores of a data set under a detector."""

import torch
from torch import nn

from asvtk.training.data import UtteranceDataset, load_batches

__all__ = ["score_dataset"]


@torch.inference_mode()
def score_dataset(
    detector: nn.Module, dataset: UtteranceDataset, batch_size: int, device: str
) -> list[float]:
    """Scores in the order of ``dataset.utterances``; higher = bona fide. Sets evaluation mode."""
    detector.eval()
    dataset.serve(detector.model)
    scores = []
    for inputs, _ in load_batches(dataset, list(range(len(dataset))), batch_size, device):
        scores += detector.score(inputs).tolist()
    return scores
