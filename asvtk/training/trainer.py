"""Training loop (stage 3): setup -> data -> model -> epochs -> finish.

Randomness is a function of (seed, epoch) alone: each epoch seeds itself, and a checkpoint within one
holds the state of the generators. A run that was killed and goes on from its last checkpoint therefore
ends with the very weights of one that was not.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from asvtk.io.stamps import write_stamp
from asvtk.models import Detector, FittedBackEnd, build_detector
from asvtk.training import distributed
from asvtk.training.checkpoint import CheckpointWriter, read_training
from asvtk.training.config import ExperimentConfig
from asvtk.training.continuation import InitialWeights
from asvtk.training.dataloader import Loader, split_batch
from asvtk.training.dataset import UtteranceDataset
from asvtk.training.distributed import compute_deterministically
from asvtk.training.evaluation import Diverged, Selection
from asvtk.training.experiment import Experiment
from asvtk.training.fitted import check_fit, gather_summaries
from asvtk.training.logger import FaultLog, TrainingLog
from asvtk.training.optim import MovingAverage, build_optimiser, learning_rate, set_rates
from asvtk.training.sampler import sample_epoch, sample_windows
from asvtk.training.sampling import expected_counts, stratify
from asvtk.training.signals import Stopped, StopRequest, stop_request
from asvtk.training.state import Progress, TrainingState
from asvtk.training.step import GradientStep

__all__ = ["train"]


def train(
    experiment: Experiment,
    config: ExperimentConfig,
    training_set: UtteranceDataset,
    dev_set: UtteranceDataset,
    device: str,
    *,
    eval_set: UtteranceDataset | None = None,
    on_record: Callable[[list[dict]], None] | None = None,
    initial: InitialWeights | None = None,
) -> dict:
    """Train to the last epoch, going on from the last checkpoint if there is one.

    Args:
        experiment: folder that takes checkpoints and logs.
        config: what to train, and how.
        training_set, dev_set: the evaluation with the lowest EER on dev is ``best``. Several dev sets,
            opened as one, are evaluated each by itself; ``training.select`` says what counts.
        device: ``cpu`` or ``cuda``.
        eval_set: one or several, evaluated at each best, to watch; chooses nothing.
        on_record: called with all records of ``train.jsonl`` after each new one.
        initial: weights to begin with, where there is no checkpoint to go on from.

    Returns:
        The progress: epochs done, and EER and epoch of the best.

    Raises:
        Stopped: a scheduler asked for it; progress is saved.
        AsvtkError: a set is of no use, training diverges again and again, or the disk stays full.
    """
    run = _Run(experiment, config, training_set, dev_set, device, eval_set, on_record, initial)
    try:
        with stop_request() as request:
            while not run.is_over():
                try:
                    run.epoch(request)
                except Diverged as fault:
                    run.roll_back(str(fault))
        return run.finish()
    finally:
        run.writer.close()


class _Run:
    """One training, from where it is to its end."""

    def __init__(self, experiment, config, training_set, dev_set, device, eval_set, on_record, initial):
        # Setup
        self.experiment, self.config = experiment, config
        self.training = config.training  # its section of the configuration
        self.on_gpu = device != "cpu"
        if self.training.deterministic:
            compute_deterministically()
        torch.manual_seed(config.seed)
        # Data
        training_set.require_both_classes()
        dev_set.require_both_classes(each=True)
        if eval_set is not None:
            eval_set.require_both_classes(each=True)
        self.sets = {"train": training_set, "dev": dev_set} | (
            {"eval": eval_set} if eval_set is not None else {}
        )
        self.strata = None
        if (sampling := self.training.sampling) is not None:
            self.strata = stratify(sampling, training_set.column)
        # Model
        frontend = training_set.frontend.load(lower=not training_set.frontend.stored)
        detector = build_detector(config, frontend).to(device)
        check_fit(detector, config)
        for dataset in self.sets.values():
            dataset.serve(detector.model)
        checkpoint = read_training(experiment.checkpoints)
        taken, begun_with = set(), None
        if checkpoint is None and initial is not None:
            taken, begun_with = initial.load(detector)
        fits = detector.model.uses_features and not any(".mvn." in name for name in taken)
        if checkpoint is None and fits and self.training.normalise_on:
            # With shares, statistics are of what training hears, and not of what there is.
            among = None if self.strata is None else sorted(self._order(self._epoch_seed(1)))
            detector.model.mvn.fit(
                _sample_features(detector, training_set, self.training.normalise_on, among)
            )
            distributed.take_from_writer(detector.buffers())
        self.detector, self.step, self.trained_blocks = detector, None, None
        self.loaders = {name: Loader(dataset, device) for name, dataset in self.sets.items()}
        average = MovingAverage(detector, self.training.ema) if self.training.ema else None
        self.state = TrainingState(detector, build_optimiser(detector, self.training), average)
        # Where the last run ended
        self.writer = CheckpointWriter(experiment.checkpoints)
        self.selection = Selection(self.state, self.sets, self.loaders, self.training, self.writer)
        self.faults = FaultLog(experiment.faults)
        self.log = TrainingLog(experiment, on_record)
        if checkpoint is not None:
            path, *saved = checkpoint
            self.state.restore(*saved, path)
        self.good = self.state.snapshot()
        self.log.cut(self.state.progress)
        self.log.start(config, detector, self.sets, self.progress)
        if begun_with is not None:
            self.log.info(begun_with)
        for line in self._shares():
            self.log.info(line)

    @property
    def progress(self):
        return self.state.progress  # a new object after each roll-back

    def is_over(self) -> bool:
        impatient = 0 < self.training.patience <= self.progress.stale
        return impatient or self.progress.epoch == self.training.epochs

    def epoch(self, stop: StopRequest) -> None:
        """From where progress is to the end of the epoch."""
        if isinstance(self.detector.model, FittedBackEnd):
            return self._fit(stop)
        progress, training = self.progress, self.training
        number = progress.epoch + 1
        self._unfreeze(number)
        epoch_seed = self._epoch_seed(number)
        torch.manual_seed(epoch_seed + 1_000_003 * distributed.rank())  # dropout
        order = self._order(epoch_seed)
        batches = [order[i : i + training.batch_size] for i in range(0, len(order), training.batch_size)]
        todo = batches[progress.step :]
        shares = [split_batch(distributed.share(batch), training.grad_accum) for batch in todo]
        windows = self._windows(epoch_seed, len(batches))[progress.step :]
        loaded = self.loaders["train"](
            [micro_batch for share in shares for micro_batch in share],
            epoch_seed,
            [window for share, window in zip(shares, windows, strict=True) for _ in share],
        )
        self.state.restore_random()
        self.detector.train()
        bar = tqdm(
            total=len(batches), initial=progress.step, desc=f"epoch {number}/{training.epochs}", unit="batch",
            disable=None if distributed.is_writer() else True, leave=False,
        )  # fmt: skip
        with contextlib.closing(bar):
            for batch, share in zip(todo, shares, strict=True):
                done = number - 1 + progress.step / len(batches)
                rate = progress.rate_scale * learning_rate(training, done)
                set_rates(self.state.optimiser, rate)
                inputs = [next(loaded) for _ in share]
                loss, norm, stopped = self.step(inputs, len(batch), stop.signal is not None)
                progress.step += 1
                if math.isfinite(loss) and math.isfinite(norm):
                    self.state.update()
                    progress.bad_steps = 0
                    progress.loss_sum += loss * len(batch)
                    progress.loss_count += len(batch)
                else:
                    self._skip(batch, loss, norm)
                bar.update()
                self._after_step(len(batches), rate)
                if stopped:
                    self._stop(stop)

    def _fit(self, stop: StopRequest) -> None:
        """The one epoch of a back-end that is solved for. Killed in it, it begins anew."""
        progress, model, training_set = self.progress, self.detector.model, self.sets["train"]
        epoch_seed = self._epoch_seed(1)
        order = sorted(self._order(epoch_seed))  # so that the seed does not matter where nothing is drawn
        summaries = gather_summaries(
            self.detector,
            self.loaders["train"],
            order,
            self.training.batch_size,
            epoch_seed,
            lambda batches: self._windows(epoch_seed, batches),
            stop,
        )
        if summaries is None:
            self._stop(stop)
        speakers = training_set.column("speaker")
        loss, outcome = model.fit(summaries, training_set.bonafide[order], [speakers[i] for i in order])
        self.log.info(outcome)
        distributed.take_from_writer(self.detector.state_dict().values())
        progress.step, progress.updates = 1, 1
        progress.loss_sum, progress.loss_count = loss * len(order), len(order)
        self._after_step(1, 0.0)

    def _epoch_seed(self, number: int) -> int:
        return self.config.seed * 100_003 + number

    def _shares(self) -> Iterator[str]:
        """What an epoch has of each corpus and label, in words, where sampling says it."""
        if self.strata is None:
            return
        training_set = self.sets["train"]
        columns = [training_set.column(name) for name in ("corpus", "label")]
        there, drawn = Counter(zip(*columns, strict=True)), expected_counts(self.strata, *columns)
        size, levels = self.strata.sizes.sum(), ", ".join(self.training.sampling.names)
        yield f"an epoch has {size} utterances, in the shares of training.sampling ({levels}):"
        for (corpus, label), count in drawn.items():
            about = "" if math.isclose(count, round(count), abs_tol=1e-6) else "about "
            yield f"  {corpus} {label}: {about}{round(count)} (the set has {there[corpus, label]})"

    def _order(self, epoch_seed: int) -> list[int]:
        training_set, vocoded = self.sets["train"], self.config.vocoded
        share = None if vocoded is None else vocoded.share
        return sample_epoch(
            training_set.bonafide, epoch_seed, self.training.balance, training_set.made_of, share, self.strata
        )

    def _windows(self, epoch_seed: int, batches: int) -> list[int | None]:
        """Samples that each batch hears of its utterances, in all processes alike; None: as the crop says."""
        windows = self.training.windows
        if windows is None:
            return [None] * batches
        return sample_windows(windows.shortest, windows.longest, epoch_seed, batches)

    def _unfreeze(self, epoch: int) -> None:
        """Let as many of the front-end's top blocks be trained as that epoch trains."""
        frontend, training = self.detector.frontend, self.training
        blocks = training.unfreeze.blocks(epoch, frontend.trainable)
        if blocks == self.trained_blocks:
            return
        if frontend.trainable:
            frontend.train_top(blocks)
            self.log.info(f"epoch {epoch}: {blocks} of {frontend.trainable} trainable blocks are trained")
        self.trained_blocks = blocks
        self.step = None  # its memory makes room for the next one's
        even = self.on_gpu and self.config.frontend.crop.is_fixed
        if training.compile and not even:
            self.log.info("training.compile: nothing to do on a CPU, or with crops of no fixed length")
        elif training.compile and not training.deterministic:
            torch.backends.cudnn.benchmark = True  # who waits for kernels can wait for cuDNN's choice too
        self.step = GradientStep(
            self.detector,
            training.grad_clip,
            precision=training.precision,
            record=even and training.cuda_graph,
            fuse=even and training.compile,
        )

    def _skip(self, batch: list[int], loss: float, norm: float) -> None:
        progress = self.progress
        progress.bad_steps += 1
        progress.skipped_steps += 1
        utterances = [self.sets["train"].utterances[index] for index in batch]
        self.faults.skipped(progress.running_epoch, progress.step, loss, norm, utterances)
        if progress.bad_steps == self.training.max_bad_steps:
            raise Diverged(f"epoch {progress.running_epoch}: {progress.bad_steps} bad batches in a row")

    def _after_step(self, steps: int, rate: float) -> None:
        """Evaluate, log and save where that is due."""
        progress, training = self.progress, self.training
        done = progress.epoch * steps + progress.step
        ended = progress.step == steps
        validated = done % max(1, round(training.eval_every * steps)) == 0 or done == training.epochs * steps
        if ended:
            progress.epoch, progress.step = progress.epoch + 1, 0
        if ended or validated:
            dev, extra = self.selection.validate() if validated else (None, {})
            self.log.record(progress, done / steps, rate, dev, extra)
            progress.loss_sum, progress.loss_count = 0.0, 0
        saved = training.save_every and progress.step and progress.step % training.save_every == 0
        if (ended or validated or saved) and not progress.bad_steps:
            self._save()
        self.writer.retry()

    def _save(self) -> None:
        self.good = self.state.snapshot()
        self.selection.enqueue()
        self.writer.enqueue("last", *self.good)
        self.writer.begin()

    def _stop(self, stop: StopRequest) -> None:
        """Save, unless the last steps were bad: then the last good state is where to go on."""
        if not self.progress.bad_steps:
            self._save()
        saved = Progress(**self.good[1]) if self.writer.flush() else None
        raise Stopped(
            f"{self.experiment.folder}: stopped by {stop.signal or 'a signal to another process'}; "
            + (f"saved {saved}. " if saved else "there was no room to save. ")
            + "The same command goes on from the last checkpoint"
        )

    def roll_back(self, reason: str) -> None:
        """Back to the last good state with half the learning rate; a number of times.

        Raises:
            AsvtkError: that was once too often; with a diagnosis.
        """
        rollbacks, skipped = self.progress.rollbacks, self.progress.skipped_steps
        if rollbacks == self.training.max_rollbacks:
            raise self.faults.diagnosis(reason, rollbacks)
        self.state.restore(*self.good)
        self.selection.discard()
        progress = self.progress
        progress.rollbacks, progress.skipped_steps = rollbacks + 1, skipped
        progress.rate_scale /= 2
        self.good = self.good[0], progress.as_dict()  # another way back goes to a lower rate still
        self.log.cut(progress)
        self.faults.rolled_back(reason, progress)

    def finish(self) -> dict:
        """Average the best, see that all is on the disk, and say that it is done."""
        if self.progress.bad_steps:  # in the last batches: there is nothing to go back for any more
            self._save()
        self.writer.finish()
        distributed.wait()
        if outcome := self.selection.average():
            self.log.info(outcome)
        self.writer.finish()
        if distributed.is_writer():
            write_stamp(self.experiment.done, self.progress.as_dict())
            for path in self.experiment.checkpoints.glob("epoch_*.safetensors"):
                path.unlink()
        return self.progress.as_dict()


@torch.no_grad()
def _sample_features(
    detector: Detector, dataset: UtteranceDataset, count: int, among: list[int] | None
) -> Iterator[Tensor]:
    """Clean features of up to ``count`` utterances, as the back-end hears them: each (layers, frames, d)."""
    for inputs in dataset.sample(count, among):
        yield detector.features(inputs.to(detector.device)).x[0]
