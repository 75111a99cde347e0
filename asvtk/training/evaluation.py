"""Evaluation on a labelled set (EER, loss, expert routing), and selection of the best checkpoints on dev."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch

from asvtk.inference.weights import part
from asvtk.io.errors import AsvtkError, listing
from asvtk.metrics.eer import compute_eer
from asvtk.nn.moe import record_routing
from asvtk.training import distributed
from asvtk.training.checkpoint import CheckpointWriter, copies, detector_tensors, read_tensors
from asvtk.training.config import TrainingConfig
from asvtk.training.dataloader import Loader
from asvtk.training.dataset import UtteranceDataset
from asvtk.training.optim import mean_weights
from asvtk.training.state import TrainingState

__all__ = ["Diverged", "Evaluation", "NonFiniteScores", "Selection", "evaluate"]


class Diverged(Exception):
    """The weights have to go back to the last good state; the message says why."""


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
    own = distributed.share(list(range(len(dataset))))
    batches = [own[begin : begin + batch_size] for begin in range(0, len(own), batch_size)]
    scores, losses = [], []
    with record_routing(detector.model) if distributed.is_writer() else nullcontext({}) as routing:
        for inputs, bonafide in loader(batches):
            embedding = detector.embed(inputs).embedding
            scores.append(detector.loss.score(embedding))
            losses.append((detector.loss(embedding, bonafide), len(bonafide)))
        scores = torch.cat(scores).tolist() if scores else []
    scores = np.array(distributed.gather(scores, len(dataset)))
    losses = distributed.gather_objects([loss.item() * count for loss, count in losses])
    if not np.isfinite(scores).all():
        utterances = [dataset.utterances[i] for i in np.flatnonzero(~np.isfinite(scores))]
        raise NonFiniteScores(f"scores are not finite for {listing(utterances)}")
    bonafide = dataset.bonafide.numpy()
    eer = compute_eer(scores[bonafide], scores[~bonafide])[0]
    loss = sum(x for share in losses for x in share) / len(dataset)
    return Evaluation(eer, loss, _summary(routing))


def _summary(routing: dict) -> dict[str, dict]:
    """Means over utterances; of the writer's share, which is as good a sample as any."""
    summary = {}
    for layer, batches in routing.items():
        load = torch.cat([batch.load for batch in batches]).double().mean(0)
        entropy = torch.cat([batch.entropy for batch in batches]).double().mean()
        summary[layer] = {"load": [round(x, 6) for x in load.tolist()], "entropy": round(entropy.item(), 6)}
    return summary


class Selection:
    """Chooses by the dev set; eval, where it is given, is only watched.

    Args:
        state: what is trained; its progress holds what was chosen.
        sets: ``dev`` and maybe ``eval``.
        loaders: of these sets.
        config: how many to keep, and the batch size.
        writer: takes the checkpoints ``best`` and ``epoch_*``.
    """

    def __init__(
        self,
        state: TrainingState,
        sets: dict[str, UtteranceDataset],
        loaders: dict[str, Loader],
        config: TrainingConfig,
        writer: CheckpointWriter,
    ):
        self._state, self._sets, self._loaders = state, sets, loaders
        self._config, self._writer = config, writer
        self._staged: dict[str, tuple] = {}

    def validate(self) -> tuple[Evaluation, dict]:
        """Evaluate the weights as they are now, and hold a copy if they are worth it.

        Returns:
            the evaluation on dev, and what else there is to log.

        Raises:
            Diverged: scores are not finite.
        """
        detector, average = self._state.detector, self._state.average
        distributed.take_from_writer(detector.buffers())
        with average.in_place() if average is not None else nullcontext():
            dev, extra = self._evaluate("dev"), {}
            kept = self._rank(dev)
            if kept:
                tensors = copies(detector_tensors(detector))
                for name in kept:
                    self._staged[name] = tensors, self._state.progress.as_dict()
            if "best" in kept and "eval" in self._sets:
                extra["eval_eer_percent"] = 100 * self._evaluate("eval").eer
        detector.train()
        return dev, extra

    def enqueue(self) -> None:
        """Give what is held to the writer: the state that knows of it is about to be saved."""
        for name, checkpoint in self._staged.items():
            self._writer.enqueue(name, *checkpoint)
        self.discard()

    def discard(self) -> None:
        """Forget what is held: the state that knows of it is given up."""
        self._staged = {}

    def _rank(self, dev: Evaluation) -> list[str]:
        """Note how good these weights are; returns the names of the checkpoints they are worth."""
        progress, kept = self._state.progress, []
        progress.stale += 1
        if dev.rank < (progress.best_dev_eer, progress.best_dev_loss):
            progress.best_epoch, progress.stale = progress.running_epoch, 0
            progress.best_dev_eer, progress.best_dev_loss = dev.rank
            kept.append("best")
        name = f"epoch_{progress.running_epoch:03d}" + (f"_{progress.step}" if progress.step else "")
        top = sorted([*progress.top, [*dev.rank, name]])[: self._config.average_best]
        if top != progress.top:
            progress.top = top
            kept.append(name)
        return kept

    def average(self) -> str | None:
        """Let the mean of the best weights be ``best`` if its EER on dev is not higher.

        Returns:
            what came of it, in words; None if there are no several best.
        """
        progress = self._state.progress
        names = [name for *_, name in progress.top]
        if len(names) < 2:
            return None
        folder = self._writer.folder
        mean = mean_weights([read_tensors(folder / f"{name}.safetensors")[0] for name in names])
        self._state.detector.load_state_dict(part("detector.", mean))
        dev = self._evaluate("dev")
        chosen = dev.eer <= progress.best_dev_eer
        if chosen:
            progress.best_dev_eer, progress.best_dev_loss = dev.rank
            self._writer.enqueue("best", mean, progress.as_dict() | {"average_of": names})
        return f"average of {', '.join(names)}: dev loss {dev.loss:.4f}, dev EER {100 * dev.eer:.3f} %: " + (
            "it is the best" if chosen else f"the best stays epoch {progress.best_epoch}"
        )

    def _evaluate(self, name: str) -> Evaluation:
        try:
            return evaluate(
                self._state.detector, self._sets[name], self._loaders[name], self._config.batch_size
            )
        except NonFiniteScores as fault:
            raise Diverged(f"epoch {self._state.progress.running_epoch}: {name} {fault}") from None
