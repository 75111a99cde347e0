"""What can go wrong in the middle of a training, and what is said of it.

A step whose loss or gradient is not finite is skipped. When that happens again and again, or when dev
gets scores that are not finite, the weights go back to the last good state and the learning rate is
halved; after a number of those training stops with a diagnosis.
"""

import json

from asvtk.io.errors import AsvtkError, listing
from asvtk.io.text import read_json_lines
from asvtk.training import parallel
from asvtk.training.state import Progress

__all__ = ["Diverged", "FaultLog", "starved_experts"]

_STARVED = 0.1  # of an even share of the load


class Diverged(Exception):
    """The weights have to go back to the last good state; the message says why."""


class FaultLog:
    """``faults.jsonl``: one line for each step that was skipped, and each way back.

    Args:
        path: the file; it is added to.
    """

    def __init__(self, path):
        self._path = path

    def note(self, **record) -> None:
        """Add a line. A full disk is no reason to lose the training as well."""
        if not parallel.is_writer():
            return
        try:
            with open(self._path, "a") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            print(f"warning: {self._path}: {error.strerror}; not noted: {json.dumps(record)}", flush=True)

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
        if parallel.is_writer():
            print(
                f"warning: epoch {epoch}, batch {step}: loss {loss}, norm of the gradient {norm}; the step "
                f"is skipped. Utterances: {listing(utterances, 4)}; all of them are in {self._path}",
                flush=True,
            )

    def rolled_back(self, reason: str, progress: Progress) -> None:
        """The weights went back to a good state, which ``progress`` describes."""
        where = {"epoch": progress.epoch, "step": progress.step}
        self.note(fault="rollback", reason=reason, **where, rate_scale=progress.rate_scale)
        if parallel.is_writer():
            print(
                f"warning: {reason}; back to the weights {progress}, with {progress.rate_scale:g} of the "
                f"learning rate (rollback {progress.rollbacks})",
                flush=True,
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
            f"training.clip, or lengthen training.warmup_epochs; {self._path} lists the batches, and the "
            "last good checkpoint is kept"
        )


def starved_experts(routing: dict[str, dict]) -> list[str]:
    """One line for each layer whose router has left experts out: the beginning of routing collapse.

    Args:
        routing: as in ``Evaluation``.
    """
    lines = []
    for layer, found in routing.items():
        load = found["load"]
        starved = [str(number) for number, x in enumerate(load) if x < _STARVED / len(load)]
        if starved:
            shares = " ".join(f"{100 * x:.1f}" for x in load)
            lines.append(
                f"routing collapse in {layer}: expert {', '.join(starved)} of {len(load)} gets less than a "
                f"tenth of an even share (load {shares} %, entropy {found['entropy']:.2f} nats); raise "
                "model.balance_weight"
            )
    return lines
