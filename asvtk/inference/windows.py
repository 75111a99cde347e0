"""Sliding windows over a recording of any length, in constant memory: speech activity, scores, embeddings."""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from asvtk.inference import likeness
from asvtk.inference.speech import CONTEXT, FRAME, speech_probabilities, speech_seconds
from asvtk.io.audio import SAMPLE_RATE

__all__ = ["MOST_WORKERS", "Heard", "WindowScorer", "Workers"]

_BLOCK = 4000 * FRAME  #: samples that speech is looked for in at once: 2 minutes
BATCH_SIZE = 4  #: windows that a detector scores at once
MOST_WORKERS = 4  #: threads that score batches side by side


class Workers(NamedTuple):
    """Threads that score batches of windows side by side, while the next audio is decoded and looked through.

    Small products gain more by that than by threads that share each of them.
    """

    count: int = 1
    begin: Callable[[], None] | None = None  # what each of them does first


class Heard(NamedTuple):
    """What was heard of a recording."""

    samples: int  # of the whole recording, at 16 kHz
    starts: np.ndarray  # of the windows with speech, samples, (windows,)
    scores: np.ndarray  # of these, float64 (windows,)
    embedding: np.ndarray | None  # mean of their embeddings, (d_embedding,); None: there are no windows
    probabilities: np.ndarray  # of speech, in each frame of ``speech.FRAME`` samples
    measured: dict[str, float]  # `likeness.measure`, medians over windows


class WindowScorer:
    """Scorer of the windows of one recording, fed piece by piece.

    A window is scored if there is enough speech in it. The first begins with the recording, the next a hop
    later and so on; the last one ends with the recording. A recording that is no longer than a window is
    one.

    Args:
        score: windows (samples,) each -> their scores (windows,) and embeddings (windows, d_embedding).
        window, hop: samples.
        min_speech: seconds of speech in a window that is scored.
        eager: look for speech in all that has come instead of waiting for the next minutes.
        workers: that call ``score``.
        extend: where a full window begins, and its audio -> what ``score`` takes for it; None: the audio.
        look: as `speech_probabilities`, instead of it.
    """

    def __init__(
        self,
        score: Callable[[list], tuple[np.ndarray, np.ndarray]],
        window: int,
        hop: int,
        min_speech: float,
        eager: bool = False,
        workers: Workers = Workers(),  # noqa: B008
        extend: Callable[[int, np.ndarray], object] | None = None,
        look: Callable[..., np.ndarray] | None = None,
    ):
        self.window, self.hop = window, hop
        self.starts: list[int] = []  # of the windows that are scored, or will be
        self.scores: list[float] = []
        self.probabilities = np.zeros(0, np.float32)
        self.samples = 0
        self._find_speech = look or speech_probabilities
        self._score, self._min_speech, self._eager, self._extend = score, min_speech, eager, extend
        self._audio, self._begin = np.zeros(0, np.float32), 0  # what is kept, and where it begins
        self._new: list[np.ndarray] = []
        self._next = 0  # where the next window begins
        self._looked = 0  # up to where speech was looked for
        self._batch: list = []
        self._pending: list[Future] = []
        self._workers = workers.count
        self._pool = ThreadPoolExecutor(workers.count, initializer=workers.begin)
        self._embeddings, self._measured, self._measured_to = 0.0, [], 0

    def push(self, samples: np.ndarray) -> None:
        """Hear what comes next: float32 at 16 kHz, (samples,)."""
        self._new.append(samples)
        self.samples += len(samples)
        if self.samples - self._looked >= _BLOCK or (self._eager and self.wanted <= 0):
            self._take()
            self._look(whole=False)
            self._cut_windows()

    @property
    def wanted(self) -> int:
        """Samples that the next window waits for: it ends in a frame that speech was looked for in."""
        return -(-(self._next + self.window) // FRAME) * FRAME - self.samples

    def so_far(self) -> tuple[float, float]:
        """Of a recording that is shorter than a window yet: seconds of speech in it, and its score."""
        self._take()
        self._look(whole=False)
        spoken = speech_seconds(self.probabilities)
        return spoken, float(self._score([self._audio])[0][0]) if spoken >= self._min_speech else math.nan

    def flush(self) -> None:
        """Score what is waiting for a full batch."""
        self._send()
        self._wait(0)

    def finish(self) -> Heard:
        """The recording is over: what was heard of it."""
        self._take()
        self._look(whole=True)
        self._cut_windows()
        tail = max(0, self.samples - self.window)
        last = self._next - self.hop  # where the last window began
        if self.samples and (last < 0 or tail > last):
            self._consider(tail, self._audio[tail - self._begin :])
        self.flush()
        self.close()
        measured = {
            name: float(np.median([values[name] for values in self._measured]))
            for name in (self._measured[0] if self._measured else ())
        }
        embedding = self._embeddings / len(self.scores) if self.scores else None
        return Heard(
            self.samples,
            np.array(self.starts, np.int64),
            np.array(self.scores),
            embedding,
            self.probabilities,
            measured,
        )

    def close(self) -> None:
        """End the thread, whatever is still under way."""
        self._pool.shutdown(cancel_futures=True)

    def _take(self) -> None:
        """Join what has come to what is kept, and forget what no window will need."""
        # The last window of all begins behind the last one so far, and perhaps before the next.
        keep = min(max(0, self._next - self.hop), max(0, self._looked - CONTEXT * FRAME))
        drop = max(0, keep - self._begin)
        self._audio = np.concatenate([self._audio[drop:], *self._new])
        self._begin += drop
        self._new = []

    def _look(self, whole: bool) -> None:
        """Look for speech in whole frames, or to the very end."""
        end = self.samples if whole else self.samples - self.samples % FRAME
        if end <= self._looked:
            return
        first = max(0, self._looked - CONTEXT * FRAME)
        piece = self._audio[first - self._begin : end - self._begin]
        found = self._find_speech(piece, before=self._looked - first)
        self.probabilities = np.concatenate([self.probabilities, found])
        self._looked = end

    def _cut_windows(self) -> None:
        while self._next + self.window <= self._looked:
            begin = self._next - self._begin
            self._consider(self._next, self._audio[begin : begin + self.window])
            self._next += self.hop

    def _consider(self, start: int, audio: np.ndarray) -> None:
        """Have a window scored, if there is speech in it."""
        spoken = self.probabilities[start // FRAME : -(-(start + len(audio)) // FRAME)]
        likely = (spoken > 0.5).sum() * FRAME / SAMPLE_RATE  # seconds
        if likely < 0.5 * self._min_speech:  # the slow way need not be asked
            return
        if speech_seconds(spoken) < self._min_speech:
            return
        if start >= self._measured_to:
            self._measured.append(likeness.measure(audio))
            self._measured_to = start + len(audio)
        self.starts.append(start)
        full = self._extend is not None and len(audio) == self.window
        self._batch.append(self._extend(start, audio) if full else audio.copy())
        if len(self._batch) == BATCH_SIZE:
            self._send()

    def _send(self) -> None:
        if self._batch:
            self._wait(self._workers)
            self._pending.append(self._pool.submit(self._score, self._batch))
            self._batch = []

    def _wait(self, left: int) -> None:
        """Take the oldest results until no more than so many batches are under way."""
        while len(self._pending) > left:
            scores, embeddings = self._pending.pop(0).result()
            self.scores += scores.tolist()
            self._embeddings = self._embeddings + embeddings.sum(axis=0, dtype=np.float64)
