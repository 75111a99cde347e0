"""Scores of a data set under a detector."""

import math
from itertools import chain

import torch
from torch import nn

from asvtk.io.errors import AsvtkError, listing
from asvtk.training import parallel
from asvtk.training.data import UtteranceDataset
from asvtk.training.loading import Loader

__all__ = ["batches_of", "require_finite_scores", "score_dataset"]


def batches_of(utterances: int, batch_size: int, job: int = 1, num_jobs: int = 1) -> list[list[int]]:
    """The batches of a job's share of a data set: numbers of utterances, in order.

    A job has whole batches of the data set, whatever the number of jobs. Each utterance is thus computed
    in the same company, and on a CPU gets the same score bit for bit.

    Args:
        utterances: how many the data set has.
        batch_size: utterances in a batch.
        job, num_jobs: which share, 1 ... ``num_jobs``; empty where there are fewer batches than jobs.
    """
    begins = range(0, utterances, batch_size)
    share = begins[len(begins) * (job - 1) // num_jobs : len(begins) * job // num_jobs]
    return [list(range(begin, min(begin + batch_size, utterances))) for begin in share]


@torch.inference_mode()
def score_dataset(
    detector: nn.Module,
    dataset: UtteranceDataset,
    batch_size: int,
    device: str,
    job: int = 1,
    num_jobs: int = 1,
) -> list[float]:
    """Scores of a job's share, in the order of ``batches_of``; higher = bona fide. Sets evaluation mode.

    The processes of ``torchrun`` share the batches, and all of them get all scores.
    """
    detector.eval()
    dataset.serve(detector.model)
    batches = batches_of(len(dataset), batch_size, job, num_jobs)
    own = Loader(dataset, device)(parallel.share(batches))
    scores = [detector.score_prepared(inputs).tolist() for inputs, _ in own]
    return list(chain.from_iterable(parallel.gather(scores, len(batches))))


def require_finite_scores(utterances: list[str], scores: list[float], system) -> None:
    """
    Raises:
        AsvtkError: scores are nan or infinite; names ``system`` and the utterances.
    """
    bad = [u for u, score in zip(utterances, scores, strict=True) if not math.isfinite(score)]
    if bad:
        raise AsvtkError(
            f"{system}: gives {len(bad)} of {len(scores)} utterances scores that are not finite: "
            f"{listing(bad, 3)}; look at their audio or features. Nothing was written"
        )
