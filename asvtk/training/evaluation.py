"""A detector on a labelled set: EER, loss, and what the routers of its experts do."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch

from asvtk.io.errors import AsvtkError, listing
from asvtk.metrics.eer import compute_eer
from asvtk.nn.moe import record_routing
from asvtk.training import parallel
from asvtk.training.data import UtteranceDataset
from asvtk.training.loading import Loader

__all__ = ["Evaluation", "NonFiniteScores", "evaluate"]


class NonFiniteScores(AsvtkError):
    """Scores are nan or infinite: the weights are of no use."""


class Evaluation(NamedTuple):
    """Of one set."""

    eer: float  # in 0 ... 1
    loss: float
    routing: dict[str, dict]  # layer of experts -> load (a list, sums to 1) and entropy (nats) of its router

    @property
    def rank(self) -> tuple[float, float]:
        """Lower is better. Small sets know few values of EER: among equals the lower loss is better."""
        return self.eer, self.loss


@torch.inference_mode()
def evaluate(detector, dataset: UtteranceDataset, loader: Loader, batch_size: int) -> Evaluation:
    """Evaluate in float32; the processes of a training share the work. Leaves evaluation mode set.

    Args:
        detector: on the loader's device.
        dataset: a set with both classes.
        loader: of that set.
        batch_size: utterances at once; memory is all that depends on it.

    Raises:
        NonFiniteScores: a score is not finite; names the utterances.
    """
    detector.eval()
    own = parallel.share(list(range(len(dataset))))
    batches = [own[begin : begin + batch_size] for begin in range(0, len(own), batch_size)]
    scores, losses = [], []
    with record_routing(detector.model) if parallel.is_writer() else nullcontext({}) as routing:
        for inputs, bonafide in loader(batches):
            embedding = detector.embed(inputs).embedding
            scores.append(detector.loss.score(embedding))
            losses.append((detector.loss(embedding, bonafide), len(bonafide)))
        scores = torch.cat(scores).tolist() if scores else []
    scores = np.array(parallel.gather(scores, len(dataset)))
    losses = parallel.gather_objects([loss.item() * count for loss, count in losses])
    if not np.isfinite(scores).all():
        utterances = [dataset.utterances[i] for i in np.flatnonzero(~np.isfinite(scores))]
        raise NonFiniteScores(f"scores are not finite for {listing(utterances)}")
    bonafide = dataset.bonafide.numpy()
    eer = compute_eer(scores[bonafide], scores[~bonafide])[0]
    loss = sum(x for share in losses for x in share) / len(dataset)
    return Evaluation(eer, loss, _summary(routing))


def _summary(routing: dict) -> dict[str, dict]:
    """Means over utterances; of the writer's share, which is as good a sample as any."""
    found = {}
    for layer, batches in routing.items():
        load = torch.cat([batch.load for batch in batches]).double().mean(0)
        entropy = torch.cat([batch.entropy for batch in batches]).double().mean()
        found[layer] = {"load": [round(x, 6) for x in load.tolist()], "entropy": round(entropy.item(), 6)}
    return found
