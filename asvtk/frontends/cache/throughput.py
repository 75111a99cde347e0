"""Throughput of an extraction job, and its bottleneck."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Throughput"]


class Throughput:
    """Rate and shares of time from the first finished batch on: what comes before is start-up.

    A pipeline goes as fast as its slowest part. If that decodes, the front-end waits for audio; if it is
    the front-end, the writer waits for features; and if it writes, then it writes all of the time.
    """

    parts = {"audio": "decoding", "features": "the front-end", "writing": "writing"}

    def __init__(self):
        self._begun = time.perf_counter()
        self._steady = None  # when the first batch was done
        self._counted = 0
        self._spent = defaultdict(float)

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Count the time within for ``what``, which only one thread may do at a time."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[what] += time.perf_counter() - started

    def add(self, what: str, seconds: float) -> None:
        self._spent[what] += seconds

    def done(self, utterances: int) -> None:
        """A batch of so many is finished."""
        if self._steady is None:
            self._steady = time.perf_counter()
            self._spent.clear()
        else:
            self._counted += utterances

    def report(self, processes: int) -> str:
        """In words: start-up, rate and shares; ``processes`` decoded, which called it ``decoding``."""
        now = time.perf_counter()
        if self._steady is None or not self._counted:
            return f"{now - self._begun:.1f} s"
        seconds = now - self._steady
        share = {what: spent / seconds for what, spent in self._spent.items()}
        bound = max(self.parts, key=lambda what: share.get(what, 0))
        stages = {
            f"decoding by {processes} processes": share.get("decoding", 0) / processes,
            "front-end waiting for audio": share.get("audio", 0),
            "being fed": share.get("feeding", 0),
            "writer waiting for features": share.get("features", 0),
            "writing": share.get("writing", 0),
        }
        return (
            f"start-up {self._steady - self._begun:.1f} s, then {self._counted / seconds:.0f} utterances a "
            f"second, bound by {self.parts[bound]} ("
            + ", ".join(f"{stage} {100 * part:.0f} %" for stage, part in stages.items())
            + " of the time)"
        )
