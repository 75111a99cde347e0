"""Scores of a data set under a detector."""

import torch
from torch import nn

from asvtk.training import parallel
from asvtk.training.data import UtteranceDataset
from asvtk.training.loading import Loader

__all__ = ["score_dataset"]


@torch.inference_mode()
def score_dataset(
    detector: nn.Module, dataset: UtteranceDataset, batch_size: int, device: str
) -> list[float]:
    """Scores in the order of ``dataset.utterances``; higher = bona fide. Sets evaluation mode.

    The processes of ``torchrun`` share the work, and all of them get all scores.
    """
    detector.eval()
    dataset.serve(detector.model)
    own = parallel.share(list(range(len(dataset))))
    batches = [own[begin : begin + batch_size] for begin in range(0, len(own), batch_size)]
    scores = []
    for inputs, _ in Loader(dataset, device)(batches):
        scores += detector.score(inputs).tolist()
    return parallel.gather(scores, len(dataset))
