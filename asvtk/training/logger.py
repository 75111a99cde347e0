"""Training log: lines for a reader, ``train.jsonl`` and ``faults.jsonl`` for programs, TensorBoard events.

A step whose loss or gradient is not finite is skipped. When that happens again and again, or when dev
gets scores that are not finite, the weights go back to the last good state and the learning rate is
halved; after a number of those training stops with a diagnosis.
"""

import json
import logging
import math
import time
from collections.abc import Callable

from torch import nn

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.text import read_json_lines
from asvtk.training import distributed
from asvtk.training.config import ExperimentConfig
from asvtk.training.evaluation import Evaluation
from asvtk.training.experiment import Experiment
from asvtk.training.state import Progress

__all__ = ["FaultLog", "TrainingLog", "starved_experts"]

_log = logging.getLogger(__name__)


class TrainingLog:
    """Log of one training run; of several processes only the first writes.

    Args:
        experiment: its folder.
        on_record: called with all records of ``train.jsonl`` after each new one.
    """

    def __init__(self, experiment: Experiment, on_record: Callable[[list[dict]], None] | None = None):
        self._path, self._on_record = experiment.log, on_record
        self._records = experiment.records()
        self._since = time.monotonic()
        self._events_folder, self._events = experiment.folder / "tensorboard", None

    def info(self, line: str) -> None:
        if distributed.is_writer():
            _log.info(line)

    def warning(self, line: str) -> None:
        if distributed.is_writer():
            _log.warning(line)

    def start(self, config: ExperimentConfig, detector: nn.Module, sets, progress: Progress) -> None:
        parameters = sum(parameter.numel() for parameter in detector.parameters())
        device = next(detector.parameters()).device.type
        several = f" in {distributed.size()} processes" if distributed.size() > 1 else ""
        self.info(f"{config.model.name}: {parameters:,} parameters on {device}{several}, seed {config.seed}")
        dev, how = sets["dev"].parts, ""
        if len(dev) > 1:
            how = f", by the {config.training.select} EER of {len(dev)} sets: " + ", ".join(
                f"{name} ({len(numbers)})" for name, numbers in dev.items()
            )
        self.info(f"training on {len(sets['train'])} utterances, choosing on {len(sets['dev'])}{how}")
        if progress.epoch or progress.step:
            self.info(f"going on {progress}")

    def cut(self, progress: Progress) -> None:
        """Drop what the log says of steps after ``progress``: they are going to be repeated."""
        done = progress.epoch + 1, progress.step
        self._records = [r for r in self._records if (r["epoch"], r.get("step", math.inf)) <= done]
        self._write()

    def restart_clock(self) -> None:
        self._since = time.monotonic()

    def record(
        self, progress: Progress, epochs: float, rate: float, dev: Evaluation | None, extra: dict
    ) -> None:
        """A line for what was done since the last one.

        Args:
            progress: where training is.
            epochs: the same in epochs, with a fraction.
            rate: learning rate of the last step.
            dev: what the dev set says, if it was asked.
            extra: further items of the record.
        """
        record = {"epoch": progress.running_epoch, **({"step": progress.step} if progress.step else {})}
        record["loss"] = progress.loss_sum / progress.loss_count if progress.loss_count else None
        if dev is not None:
            record |= {"dev_eer_percent": 100 * dev.eer, "dev_loss": dev.loss}
            if dev.sets:
                record["dev_eer_percent_of"] = {name: 100 * eer for name, eer in dev.sets.items()}
        record |= {
            "best_epoch": progress.best_epoch,
            "epochs": epochs,
            "seconds": round(time.monotonic() - self._since, 2),
            "lr": rate,
        }
        if progress.skipped_steps:
            record |= {"skipped_steps": progress.skipped_steps, "rate_scale": progress.rate_scale}
        if dev is not None and dev.routing:
            record["routing"] = dev.routing
        record |= extra
        self.restart_clock()
        self._records.append(record)
        self._write()
        self._log_line(record, is_best=dev is not None and progress.stale == 0)
        for warning in starved_experts(record.get("routing", {})):
            self.warning(warning)
        self._add_events(record)
        if self._on_record is not None and distributed.is_writer():
            self._on_record(self._records)

    def _log_line(self, record: dict, is_best: bool) -> None:
        words = [f"epoch {record['epoch']:>3}"]
        words += [f"batch {record['step']}"] if "step" in record else []
        words += [f"loss {record['loss']:.4f}"] if record["loss"] is not None else ["no good step"]
        if "dev_loss" in record:
            words += [f"dev loss {record['dev_loss']:.4f}", _eer_words(record, "dev")]
        if "eval_eer_percent" in record:
            words += [_eer_words(record, "eval")]
        words += [f"{record['seconds']:.1f} s"] + (["* best"] if is_best else [])
        self.info("  ".join(words))

    def _write(self) -> None:
        """All lines anew: a disk that was full in between loses none of them."""
        if not distributed.is_writer():
            return
        try:
            write_text(self._path, "".join(json.dumps(record) + "\n" for record in self._records))
        except AsvtkError as error:
            self.warning(f"{error} Training goes on.")

    def _add_events(self, record: dict) -> None:
        if not distributed.is_writer():
            return
        step = len(self._records)
        if self._events is None:
            self._events = _event_writer(self._events_folder, step)
        for name in ("loss", "dev_loss", "dev_eer_percent", "eval_eer_percent", "lr"):
            if record.get(name) is not None:
                self._events.add_scalar(name, record[name], step)
        for name in ("dev_eer_percent", "eval_eer_percent"):
            for of_set, eer in record.get(f"{name}_of", {}).items():
                self._events.add_scalar(f"{name}/{of_set}", eer, step)
        for layer, stats in record.get("routing", {}).items():
            for number, load in enumerate(stats["load"]):
                self._events.add_scalar(f"routing/{layer}/expert_{number}", load, step)
        self._events.flush()


def _eer_words(record: dict, of: str) -> str:
    sets = ", ".join(f"{name} {eer:.3f}" for name, eer in record.get(f"{of}_eer_percent_of", {}).items())
    return f"{of} EER {record[f'{of}_eer_percent']:.3f} %" + (f" ({sets})" if sets else "")


class _NoEvents:
    """What there is where TensorBoard is not installed."""

    def add_scalar(self, *_) -> None:
        pass

    def flush(self) -> None:
        pass


def _event_writer(folder, step: int):
    """Writes events from ``step`` on; those that an interrupted run wrote from there on do not count."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return _NoEvents()
    return SummaryWriter(str(folder), purge_step=step)


_STARVED = 0.1  # of an even share of the load


class FaultLog:
    """``faults.jsonl``: one line for each step that was skipped, and each way back.

    Args:
        path: the file; it is added to.
    """

    def __init__(self, path):
        self._path = path

    def note(self, **record) -> None:
        """Add a line. A full disk is no reason to lose the training as well."""
        if not distributed.is_writer():
            return
        try:
            with open(self._path, "a") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            _log.warning(f"{self._path}: {error.strerror}; not noted: {json.dumps(record)}")

    def skipped(self, epoch: int, step: int, loss: float, norm: float, utterances: list[str]) -> None:
        """A step was skipped."""
        self.note(
            fault="step",
            epoch=epoch,
            step=step,
            loss=str(loss),
            gradient_norm=str(norm),
            utterances=utterances,
        )
        if distributed.is_writer():
            _log.warning(
                f"epoch {epoch}, batch {step}: loss {loss}, norm of the gradient {norm}; the step "
                f"is skipped. Utterances: {listing(utterances, 4)}; all of them are in {self._path}"
            )

    def rolled_back(self, reason: str, progress: Progress) -> None:
        """The weights went back to a good state, which ``progress`` describes."""
        where = {"epoch": progress.epoch, "step": progress.step}
        self.note(fault="rollback", reason=reason, **where, rate_scale=progress.rate_scale)
        if distributed.is_writer():
            _log.warning(
                f"{reason}; back to the weights {progress}, with {progress.rate_scale:g} of the "
                f"learning rate (rollback {progress.rollbacks})"
            )

    def diagnosis(self, reason: str, rollbacks: int) -> AsvtkError:
        """Why training gives up, from what is in the file."""
        batches = {}
        for record in read_json_lines(self._path) if self._path.exists() else ():
            for utterance in map(str, record.get("utterances") or ()):
                batches.setdefault(utterance, set()).add((record.get("epoch"), record.get("step")))
        again = sorted((u for u in batches if len(batches[u]) > 1), key=lambda u: -len(batches[u]))
        if again:
            hint = (
                f"utterances that were in more than one bad batch: {listing(again, 5)}; look at these first"
            )
        else:
            hint = "no utterance was in two bad batches, so the settings are at fault rather than the data"
        return AsvtkError(
            f"{reason}, after {rollbacks} times back to the last good state. {hint}. Lower training.lr or "
            "training.grad_clip, or lengthen training.warmup_epochs; "
            f"{self._path} lists the batches, and the last good checkpoint is kept"
        )


def starved_experts(routing: dict[str, dict]) -> list[str]:
    """One line for each layer whose router has left experts out: the beginning of routing collapse.

    Args:
        routing: as in ``Evaluation``.
    """
    lines = []
    for layer, stats in routing.items():
        load = stats["load"]
        starved = [str(number) for number, x in enumerate(load) if x < _STARVED / len(load)]
        if starved:
            shares = " ".join(f"{100 * x:.1f}" for x in load)
            lines.append(
                f"routing collapse in {layer}: expert {', '.join(starved)} of {len(load)} gets less than a "
                f"tenth of an even share (load {shares} %, entropy {stats['entropy']:.2f} nats); raise "
                "model.balance_weight"
            )
    return lines
