"""What a page about a recording needs of its sound: an outline to draw, and a small copy to play."""

import hashlib
from typing import BinaryIO, NamedTuple

import numpy as np

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError
from asvtk.io.mp3 import Mp3Writer
from asvtk.io.recording import stream_recording

__all__ = ["Outline", "Listened", "listen"]

_BINS = 1000  # an outline is seldom drawn wider
_SLACK = 0.01  # seconds by which decoders of one file may differ
_BLOCK = 1 << 20


class Listened(NamedTuple):
    low: np.ndarray  # lowest sample of each bin, (bins,)
    high: np.ndarray
    sha256: str  # of the file
    mute: str  # why there is no copy to play; empty: there is one, or none was asked for


class Outline:
    """Lowest and highest sample of equal stretches of a recording, in constant memory.

    Args:
        samples: how many the recording has.
    """

    def __init__(self, samples: int):
        bins = min(_BINS, samples)
        self._edges = -(-np.arange(bins + 1) * samples // bins)  # bin i: samples edges[i] to edges[i + 1]
        self.low, self.high = np.full(bins, np.inf), np.full(bins, -np.inf)
        self.count = 0

    def push(self, samples: np.ndarray) -> None:
        """Look at what comes next; what comes after the last bin is only counted."""
        begin, self.count = self.count, self.count + len(samples)
        samples = samples[: max(0, self._edges[-1] - begin)]
        if not len(samples):
            return
        first, last = np.searchsorted(self._edges, [begin, begin + len(samples) - 1], side="right") - 1
        starts = np.maximum(self._edges[first : last + 1] - begin, 0)
        here = slice(first, last + 1)
        self.low[here] = np.minimum(self.low[here], np.minimum.reduceat(samples, starts))
        self.high[here] = np.maximum(self.high[here], np.maximum.reduceat(samples, starts))


def listen(
    path, duration: float, copy: BinaryIO | None = None, bit_rate: int = 0, channel: int | None = None
) -> Listened:
    """Hear a recording again, as a detector heard it: 16 kHz, one channel.

    Args:
        path: the file.
        duration: seconds that it had when it was judged.
        copy: where to write it as MP3; None: nowhere.
        bit_rate: of the copy, one of `asvtk.io.mp3.BIT_RATES`.
        channel: which to take, from 1; None: as `stream_recording` chooses.

    Raises:
        AsvtkError: it cannot be read, or is not what was judged.
    """
    outline, writer, mute = None, None, ""

    def close():
        if writer is not None:
            writer.close()

    def open_sink(_):
        nonlocal outline, writer, mute
        close()  # of a decoder that gave up midway
        outline = Outline(max(1, round(duration * SAMPLE_RATE)))
        if copy is not None and not mute:
            copy.seek(0)
            copy.truncate()
            try:
                writer = Mp3Writer(copy, bit_rate)
            except AsvtkError as error:
                mute = str(error)

        def push(samples: np.ndarray) -> None:
            outline.push(samples)
            if writer is not None:
                writer.push(samples)

        return push

    try:
        stream_recording(path, open_sink, None if channel is None else channel - 1)
    finally:
        close()
    if abs(outline.count / SAMPLE_RATE - duration) > _SLACK:
        raise AsvtkError(
            f"it lasts {outline.count / SAMPLE_RATE:.2f} s now, and {duration:.2f} s were judged: the file "
            "is another one"
        )
    missing = ~np.isfinite(outline.low)
    outline.low[missing] = outline.high[missing] = 0
    return Listened(outline.low, outline.high, _sha256(path), mute)


def _sha256(path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
