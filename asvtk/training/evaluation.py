"""Evaluation on labelled sets (EER, loss, expert routing), and selection of the best checkpoints on dev."""

import math
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
    """Of one set, or of several together."""

    eer: float  # in 0 ... 1; of several sets the mean of their EERs, or the worst of them
    loss: float  # of several sets the mean of theirs
    routing: dict[str, dict]  # layer of experts -> load (a list, sums to 1) and entropy (nats) of its router
    sets: dict[str, float] = {}  # EER of each of several sets; empty: there is one

    @property
    def rank(self) -> tuple[float, float]:
        """Lower is better. Small sets know few values of EER: among equals the lower loss is better."""
        return self.eer, self.loss


@torch.inference_mode()
def evaluate(
    detector, dataset: UtteranceDataset, loader: Loader, batch_size: int, select: str = "mean"
) -> Evaluation:
    """Evaluate in float32; the processes of a training share the work. Leaves evaluation mode set.

    Args:
        detector: on the loader's device.
        dataset: a set with both classes, or several such as one, each of which is evaluated by itself.
        loader: of that set.
        batch_size: utterances at once; memory is all that depends on it.
        select: ``mean`` or ``worst``: which EER stands for several sets.

    Raises:
        NonFiniteScores: a score is not finite; names the utterances.
    """
    detector.eval()
    batches = []  # (set, numbers of utterances): none has utterances of two sets
    for name, numbers in dataset.parts.items():
        own = distributed.share(numbers)
        batches += [(name, own[begin : begin + batch_size]) for begin in range(0, len(own), batch_size)]
    scores, losses = {name: [] for name in dataset.parts}, {name: [] for name in dataset.parts}
    with record_routing(detector.model) if distributed.is_writer() else nullcontext({}) as routing:
        loaded = loader([numbers for _, numbers in batches])
        for (name, _), (inputs, bonafide) in zip(batches, loaded, strict=True):
            embedding = detector.embed(inputs).embedding
            scores[name].append(detector.loss.score(embedding))
            losses[name].append((detector.loss(embedding, bonafide), len(bonafide)))
        scores = {name: torch.cat(of).tolist() if of else [] for name, of in scores.items()}
    bad, eers, means = [], {}, []
    for name, numbers in dataset.parts.items():
        of_set = np.array(distributed.gather(scores[name], len(numbers)))
        shares = distributed.gather_objects([loss.item() * count for loss, count in losses[name]])
        if not np.isfinite(of_set).all():
            bad += [dataset.utterances[numbers[i]] for i in np.flatnonzero(~np.isfinite(of_set))]
            continue
        bonafide = dataset.bonafide[numbers].numpy()
        eers[name] = compute_eer(of_set[bonafide], of_set[~bonafide])[0]
        means.append(sum(x for share in shares for x in share) / len(numbers))
    if bad:
        raise NonFiniteScores(f"scores are not finite for {listing(bad)}")
    eer = max(eers.values()) if select == "worst" else math.fsum(eers.values()) / len(eers)
    loss = math.fsum(means) / len(means)  # fsum: whatever the order of the sets
    return Evaluation(eer, loss, _summary(routing), eers if len(eers) > 1 else {})


def _summary(routing: dict) -> dict[str, dict]:
    """Means over utterances; of the writer's share, which is as good a sample as any."""
    summary = {}
    for layer, batches in routing.items():
        load = torch.cat([batch.load for batch in batches]).double().mean(0)
        entropy = torch.cat([batch.entropy for batch in batches]).double().mean()
        summary[layer] = {"load": [round(x, 6) for x in load.tolist()], "entropy": round(entropy.item(), 6)}
    return summary


class Selection:
    """Chooses by the dev sets; eval, where it is given, is only watched.

    Args:
        state: what is trained; its progress holds what was chosen.
        sets: ``dev`` and maybe ``eval``, each one set or several as one.
        loaders: of these sets.
        config: how to choose, how many to keep, and the batch size.
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
                watched = self._evaluate("eval")
                extra["eval_eer_percent"] = 100 * watched.eer
                if watched.sets:
                    extra["eval_eer_percent_of"] = {name: 100 * eer for name, eer in watched.sets.items()}
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
                self._state.detector,
                self._sets[name],
                self._loaders[name],
                self._config.batch_size,
                self._config.select if name == "dev" else "mean",
            )
        except NonFiniteScores as fault:
            raise Diverged(f"epoch {self._state.progress.running_epoch}: {name} {fault}") from None
