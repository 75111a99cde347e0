"""What training says: lines for a reader, ``train.jsonl`` for programs, events for TensorBoard."""

import json
import math
import time
from collections.abc import Callable

from torch import nn

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.training import parallel
from asvtk.training.evaluation import Evaluation
from asvtk.training.experiment import ExperimentConfig
from asvtk.training.experiment_folder import Experiment
from asvtk.training.health import starved_experts
from asvtk.training.state import Progress

__all__ = ["Journal"]


class Journal:
    """Of one run.

    Args:
        experiment: its folder.
        on_record: called with all records of ``train.jsonl`` after each new one.
    """

    def __init__(self, experiment: Experiment, on_record: Callable[[list[dict]], None] | None = None):
        self._path, self._on_record = experiment.log, on_record
        self._records = experiment.records()
        self._since = time.monotonic()
        self._events_folder, self._events = experiment.folder / "tensorboard", None

    def say(self, line: str) -> None:
        if parallel.is_writer():
            print(line, flush=True)

    def say_start(self, config: ExperimentConfig, detector: nn.Module, sets, progress: Progress) -> None:
        parameters = sum(parameter.numel() for parameter in detector.parameters())
        device = next(detector.parameters()).device.type
        several = f" in {parallel.size()} processes" if parallel.size() > 1 else ""
        self.say(f"{config.model.name}: {parameters:,} parameters on {device}{several}, seed {config.seed}")
        self.say(f"training on {len(sets['train'])} utterances, choosing on {len(sets['dev'])}")
        if progress.epoch or progress.step:
            self.say(f"going on {progress}")

    def cut(self, progress: Progress) -> None:
        """Drop what the log says of steps after ``progress``: they are going to be repeated."""
        done = progress.epoch + 1, progress.step
        self._records = [r for r in self._records if (r["epoch"], r.get("step", math.inf)) <= done]
        self._write()

    def restart_clock(self) -> None:
        self._since = time.monotonic()

    def record(
        self, progress: Progress, epochs: float, rate: float, dev: Evaluation | None, more: dict
    ) -> None:
        """A line for what was done since the last one.

        Args:
            progress: where training is.
            epochs: the same in epochs, with a fraction.
            rate: learning rate of the last step.
            dev: what the dev set says, if it was asked.
            more: further items of the record.
        """
        record = {"epoch": progress.running_epoch, **({"step": progress.step} if progress.step else {})}
        record["loss"] = progress.loss_sum / progress.loss_count if progress.loss_count else None
        if dev is not None:
            record |= {"dev_eer_percent": 100 * dev.eer, "dev_loss": dev.loss}
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
        record |= more
        self.restart_clock()
        self._records.append(record)
        self._write()
        self._say(record, is_best=dev is not None and progress.stale == 0)
        for warning in starved_experts(record.get("routing", {})):
            self.say(f"warning: {warning}")
        self._add_events(record)
        if self._on_record is not None and parallel.is_writer():
            self._on_record(self._records)

    def _say(self, record: dict, is_best: bool) -> None:
        words = [f"epoch {record['epoch']:>3}"]
        words += [f"batch {record['step']}"] if "step" in record else []
        words += [f"loss {record['loss']:.4f}"] if record["loss"] is not None else ["no good step"]
        if "dev_loss" in record:
            words += [f"dev loss {record['dev_loss']:.4f}", f"dev EER {record['dev_eer_percent']:.3f} %"]
        if "eval_eer_percent" in record:
            words += [f"eval EER {record['eval_eer_percent']:.3f} %"]
        words += [f"{record['seconds']:.1f} s"] + (["* best"] if is_best else [])
        self.say("  ".join(words))

    def _write(self) -> None:
        """All lines anew: a disk that was full in between loses none of them."""
        if not parallel.is_writer():
            return
        try:
            write_text(self._path, "".join(json.dumps(record) + "\n" for record in self._records))
        except AsvtkError as error:
            self.say(f"warning: {error} Training goes on.")

    def _add_events(self, record: dict) -> None:
        if not parallel.is_writer():
            return
        step = len(self._records)
        if self._events is None:
            self._events = _event_writer(self._events_folder, step)
        for name in ("loss", "dev_loss", "dev_eer_percent", "eval_eer_percent", "lr"):
            if record.get(name) is not None:
                self._events.add_scalar(name, record[name], step)
        for layer, found in record.get("routing", {}).items():
            for number, load in enumerate(found["load"]):
                self._events.add_scalar(f"routing/{layer}/expert_{number}", load, step)
        self._events.flush()


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
