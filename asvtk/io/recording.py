"""Recordings of any kind as 16 kHz mono: for what a stranger has lying about, not for a corpus."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from asvtk.io.audio import SAMPLE_RATE, write_audio
from asvtk.io.decoding import LONGEST, decode, path_text
from asvtk.io.errors import AsvtkError
from asvtk.io.sound import Sound

__all__ = ["Recording", "Stream", "convert_audio", "read_recording", "stream_recording", "to_mono_16k"]

#: Channels cancel out where their mean keeps less than half of the energy that unlike channels keep.
_CANCELLED = 0.5
_MAX_DOWN = 48_000
#: of an array; more are samples in the wrong place
_MAX_CHANNELS = 64


class Recording(NamedTuple):
    samples: np.ndarray  # float32 at 16 kHz, shape (samples,); lossy coding may pass full scale (1)
    changes: tuple[str, ...]  # what was done to it, for people; empty: nothing
    doubt: str  # why it may be cut off; empty: nothing speaks for that


class Stream(NamedTuple):
    """What was done to a recording that was handed on piece by piece; see ``Recording``."""

    changes: tuple[str, ...]
    doubt: str


def stream_recording(
    path,
    open_sink: Callable[[float | None], Callable[[np.ndarray], None]],
    channel: int | None = None,
    longest: float = 24 * 3600,
) -> Stream:
    """``read_recording`` in constant memory: pieces of any size go to a function as they are decoded.

    Args:
        path: the file.
        open_sink: seconds that the recording lasts by its header, or None -> the function that takes float32
            samples at 16 kHz, (samples,). Where a decoder gives up midway, or the mean of the channels turns
            out to lose the energy, the recording comes again from its beginning, to a function that is
            asked for anew.
        channel: which to take, from 0, instead of the mean.
        longest: seconds; longer files are refused.

    Raises:
        AsvtkError: as ``read_recording``, or there is no such channel.
    """

    def use(sound: Sound, chosen: int | None = None):
        if channel is not None and channel >= sound.channels:
            raise AsvtkError(f"{path_text(path)}: has {sound.channels} channels, there is no {channel + 1}")
        seconds = None if sound.length is None else sound.length / sound.rate
        return _convert(
            path, sound, open_sink(seconds), channel if chosen is None else chosen, channel is not None
        )

    (stream, loudest), _ = decode(path, use, longest=longest)
    if loudest is None:
        return stream
    return decode(path, lambda sound: use(sound, loudest), longest=longest)[0][0]


def read_recording(path) -> Recording:
    """Decode any recording, take the mean of its channels, and resample it (polyphase) to 16 kHz.

    Where the mean loses the energy, as of a right channel that is the left one upside down, the loudest
    channel is taken instead.

    Raises:
        AsvtkError: as `asvtk.io.decoding.decode`, or it has no samples, or such as are not finite.
    """
    parts: list[np.ndarray] = []

    def open_sink(_):
        parts.clear()
        return parts.append

    stream = stream_recording(path, open_sink, longest=LONGEST)
    return Recording(np.concatenate(parts), *stream)


def convert_audio(path, out) -> None:
    """Write what ``read_recording`` makes of a file as a corpus has it: FLAC, 16 kHz, mono, 16 bit.

    Where lossy coding or resampling passed full scale, all of it is scaled down to that: clipping would be a
    trace of its own.

    Raises:
        AsvtkError: as ``read_recording``, or the file cannot be written.
    """
    samples = read_recording(path).samples
    peak = np.abs(samples).max()
    write_audio(out, samples / peak if peak > 1 else samples)


def to_mono_16k(audio, sample_rate: int) -> np.ndarray:
    """An array as ``read_recording`` gives a file: float32 (samples,) at 16 kHz.

    Args:
        audio: array or tensor, shape (samples,) or (samples, channels): floats with full scale at 1, or
            integers, whose full scale is that of their width; unsigned ones lie around the middle.
        sample_rate: Hz.

    Raises:
        AsvtkError: it has another shape, no samples or such as are not finite, or no such rate exists.
    """
    samples = np.asarray(audio)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fiu":
        raise AsvtkError(
            f"expected numbers of shape (samples,) or (samples, channels), found {samples.dtype} of shape "
            f"{samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[1] > _MAX_CHANNELS:
        raise AsvtkError(f"expected (samples, channels), found shape {samples.shape}; transpose it")
    if not (isinstance(sample_rate, (int, np.integer)) and 1_000 <= sample_rate <= 1_000_000):
        raise AsvtkError(f"sample rate {sample_rate!r}: expected whole Hz from 1,000 to 1,000,000")
    if samples.dtype.kind in "iu":
        half = 2.0 ** (8 * samples.dtype.itemsize - 1)
        samples = (samples - half if samples.dtype.kind == "u" else samples) / half
    samples = samples.astype(np.float32, copy=False)
    samples = samples.reshape(len(samples), 1 if samples.ndim == 1 else samples.shape[1])
    sound = Sound(int(sample_rate), samples.shape[1], "array", False, len(samples), iter([samples]))
    parts: list[np.ndarray] = []
    _, loudest = _convert("the array", sound, parts.append)
    if loudest is not None:
        parts.clear()
        _convert("the array", sound._replace(blocks=iter([samples])), parts.append, loudest)
    return np.concatenate(parts)


def _convert(
    path, sound: Sound, sink: Callable[[np.ndarray], None], channel: int | None = None, asked: bool = False
) -> tuple[Stream, int | None]:
    """Hand the recording on; also returns the channel to take instead, if the mean loses the energy."""
    resampler, count = _Resampler(sound.rate), 0
    kept, energies = 0.0, np.zeros(sound.channels)
    for block in sound.blocks:
        count += len(block)
        if sound.channels > 1 and channel is None:
            mono = block @ np.full(sound.channels, 1 / sound.channels, np.float32)
            kept += np.dot(mono, mono)
            energies += np.einsum("ij,ij->j", block, block)
        else:
            mono = block[:, channel or 0]
        if not np.isfinite(mono).all():
            raise AsvtkError(f"{path_text(path)}: holds samples that are not finite (NaN or infinite)")
        sink(resampler.push(mono))
    if not count:
        raise AsvtkError(f"{path_text(path)}: holds no samples")
    sink(resampler.finish())
    changes = []
    if asked:
        changes.append(f"channel {channel + 1} of {sound.channels} taken, as asked")
    elif channel is not None:
        changes.append(f"channel {channel + 1} of {sound.channels} taken, as their mean loses the energy")
    elif sound.channels > 1:
        changes.append(f"{sound.channels} channels averaged")
    if sound.rate != SAMPLE_RATE:
        changes.append(f"resampled from {sound.rate} Hz")
    loses = kept < _CANCELLED * energies.sum() / sound.channels**2
    return Stream(tuple(changes), sound.doubt), int(energies.argmax()) if loses else None


class _Resampler:
    """``scipy.signal.resample_poly`` piece by piece: the samples it gives for the whole."""

    _PIECE = 1 << 20

    def __init__(self, rate: int):
        # Rates without a short ratio are taken for others, nearer to them than any sound card is to its own.
        ratio = Fraction(SAMPLE_RATE, rate).limit_denominator(_MAX_DOWN)
        self._up, self._down = ratio.numerator, ratio.denominator
        # resample_poly's own low-pass reaches 10 samples of the lower rate to either side.
        self._context = self._down * math.ceil((10 * max(1, self._down / self._up) + 1) / self._down)
        self._new, self._count = [], 0
        self._held = np.zeros(0, np.float32)
        self._before = 0  # so many samples of what is held are done with, and stay for their context
        self._taps = None

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Samples at 16 kHz, as far as they are settled."""
        if self._up == self._down:
            return samples
        self._new.append(samples)
        self._count += len(samples)
        ready = len(self._held) + self._count - self._before - self._context
        ready -= ready % self._down
        if ready < self._PIECE:
            return np.zeros(0, np.float32)
        self._take()
        return self._pass(ready, self._before + ready + self._context)

    def finish(self) -> np.ndarray:
        self._take()
        rest = len(self._held) - self._before
        return self._pass(rest, len(self._held)) if rest else np.zeros(0, np.float32)

    def _take(self) -> None:
        self._held = np.concatenate([self._held, *self._new])
        self._new, self._count = [], 0

    def _pass(self, count: int, end: int) -> np.ndarray:
        from scipy.signal import firwin, resample_poly

        if self._taps is None:
            ratio = max(self._up, self._down)
            self._taps = firwin(20 * ratio + 1, 1 / ratio, window=("kaiser", 5.0)).astype(np.float32)
        resampled = resample_poly(self._held[:end], self._up, self._down, window=self._taps)
        first = self._before * self._up // self._down
        settled = resampled[first : first + -(-count * self._up // self._down)]
        keep = max(0, self._before + count - self._context)
        keep -= keep % self._down
        self._held, self._before = self._held[keep:], self._before + count - keep
        return settled
