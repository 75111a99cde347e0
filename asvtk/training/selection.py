"""Which weights are kept: the best on dev, those among the best, and their average."""

import contextlib

from asvtk.inference.weights import part
from asvtk.training import parallel
from asvtk.training.averaging import mean_weights
from asvtk.training.checkpoint import copies, detector_tensors, read_tensors
from asvtk.training.data import UtteranceDataset
from asvtk.training.evaluation import Evaluation, NonFiniteScores, evaluate
from asvtk.training.health import Diverged
from asvtk.training.loading import Loader
from asvtk.training.saving import CheckpointWriter
from asvtk.training.settings import TrainingConfig
from asvtk.training.state import TrainingState

__all__ = ["Selection"]


class Selection:
    """Chooses by the dev set; eval, where it is given, is only watched.

    Args:
        state: what is trained; its progress holds what was chosen.
        sets: ``dev`` and maybe ``eval``.
        loaders: of these sets.
        settings: how many to keep, and the batch size.
        writer: takes the checkpoints ``best`` and ``epoch_*``.
    """

    def __init__(
        self,
        state: TrainingState,
        sets: dict[str, UtteranceDataset],
        loaders: dict[str, Loader],
        settings: TrainingConfig,
        writer: CheckpointWriter,
    ):
        self._state, self._sets, self._loaders = state, sets, loaders
        self._settings, self._writer = settings, writer
        self._staged: dict[str, tuple] = {}

    def judge(self) -> tuple[Evaluation, dict]:
        """Evaluate the weights as they are now, and hold a copy if they are worth it.

        Returns:
            the evaluation on dev, and what else there is to log.

        Raises:
            Diverged: scores are not finite.
        """
        detector, average = self._state.detector, self._state.average
        parallel.take_from_writer(detector.buffers())
        with average.in_place() if average is not None else contextlib.nullcontext():
            dev, more = self._evaluate("dev"), {}
            kept = self._rank(dev)
            if kept:
                tensors = copies(detector_tensors(detector))
                for name in kept:
                    self._staged[name] = tensors, self._state.progress.as_dict()
            if "best" in kept and "eval" in self._sets:
                more["eval_eer_percent"] = 100 * self._evaluate("eval").eer
        detector.train()
        return dev, more

    def offer(self) -> None:
        """Give what is held to the writer: the state that knows of it is about to be saved."""
        for name, checkpoint in self._staged.items():
            self._writer.offer(name, *checkpoint)
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
        top = sorted([*progress.top, [*dev.rank, name]])[: self._settings.average_best]
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
            self._writer.offer("best", mean, progress.as_dict() | {"average_of": names})
        return f"average of {', '.join(names)}: dev loss {dev.loss:.4f}, dev EER {100 * dev.eer:.3f} %: " + (
            "it is the best" if chosen else f"the best stays epoch {progress.best_epoch}"
        )

    def _evaluate(self, name: str) -> Evaluation:
        try:
            return evaluate(
                self._state.detector, self._sets[name], self._loaders[name], self._settings.batch_size
            )
        except NonFiniteScores as fault:
            raise Diverged(f"epoch {self._state.progress.running_epoch}: {name} {fault}") from None
