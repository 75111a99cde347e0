"""Room impulse responses of shoebox rooms, by the image-source method.

J. Allen and D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979.
All walls reflect alike at all frequencies, and the source is heard alike from all sides: a model of a room,
not the recording of one. Images lie up to 8 cm beside their places, as in E. De Sena et al., "On the
modeling of rectangular geometries in room acoustic simulations", IEEE/ACM TASLP 23(4), 2015: exact ones
arrive so regularly that a sweep is heard.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.randomness import utterance_generator

__all__ = ["ROOMS", "decay_time", "reverberate", "room_response"]

ROOMS = 32  #: rooms that there are; each process computes those that it needs once
_SOUND = 343.0  # metres a second
_FINER = 4  # times 16 kHz: arrivals are placed to an eighth of a sample
_LEAD = 16  # samples before the direct sound, for the low-pass filter's own beginning
_JITTER = 0.08  # metres
_BIN = 0.001  # seconds of the energy that reflection is chosen by


class _Room(NamedTuple):
    size: np.ndarray  # metres, (3,)
    source: np.ndarray
    microphone: np.ndarray


def reverberate(samples: np.ndarray, rt60: float, rng: np.random.Generator) -> np.ndarray:
    """Speech in one of the rooms, as loud (RMS) as before; what rings on past the end is cut off.

    Args:
        samples: 16 kHz, (samples,).
        rt60: seconds in which the sound in the room falls by 60 dB.
        rng: draws the room.

    Returns:
        (samples,), the direct sound in time with the input.
    """
    response = room_response(rt60, int(rng.integers(ROOMS)))
    made = scipy.signal.oaconvolve(samples, response)[_LEAD : _LEAD + len(samples)]
    energies = [np.square(x, dtype=np.float64).sum() for x in (samples, made)]
    return made * np.sqrt(energies[0] / energies[1]) if energies[1] > 0 else made


@functools.lru_cache(maxsize=8 * ROOMS)
def room_response(rt60: float, number: int) -> np.ndarray:
    """Impulse response of a room whose walls reflect so much that its decay time is ``rt60``.

    Args:
        rt60: seconds, by `decay_time`.
        number: which room, 0 to ROOMS - 1. At all decay times it has one size, and one place of source and
            microphone, 1 to 2.5 m apart.

    Returns:
        float64 at 16 kHz, (_LEAD + taps,); the direct sound comes after _LEAD samples with gain 1.
    """
    rng = utterance_generator(0, f"room {number}", 0)
    room = _draw(rng)
    direct = np.linalg.norm(room.source - room.microphone)
    reach = direct + _SOUND * rt60
    reflection = _choose_reflection(room, direct, reach, rt60)
    fine = SAMPLE_RATE * _FINER
    response = np.zeros(int(rt60 * fine) + (_LEAD + 1) * _FINER)
    for distance, reflections in _images(room, reach):
        jitter = np.where(reflections > 0, rng.uniform(-_JITTER, _JITTER, len(distance)), 0)
        delay = np.maximum(distance + jitter - direct, 0) / _SOUND
        place = np.rint(delay * fine).astype(int) + _LEAD * _FINER
        gain = reflection**reflections * direct / distance
        response += np.bincount(place, gain, len(response))[: len(response)]
    response = _FINER * scipy.signal.resample_poly(response, 1, _FINER)
    # Pressures that are all positive add up to what is no sound; Allen and Berkley filter it off, too.
    return scipy.signal.sosfilt(
        scipy.signal.butter(2, 50, "highpass", fs=SAMPLE_RATE, output="sos"), response
    )


def decay_time(energy: np.ndarray, step: float) -> float:
    """Reverberation time T30 of ISO 3382: from -5 to -35 dB of Schroeder's backward integral, times two.

    Args:
        energy: that arrives in each step of time, (steps,).
        step: seconds.

    Returns:
        seconds in which it would fall by 60 dB.
    """
    remaining = np.cumsum(energy[::-1])[::-1]
    level = 10 * np.log10(np.maximum(remaining / remaining[0], 1e-12))
    fitted = np.flatnonzero((level <= -5) & (level >= -35))
    if len(fitted) < 2:  # it is over at once
        return 0.0
    return float(-60 / np.polyfit(fitted * step, level[fitted], 1)[0])


def _draw(rng: np.random.Generator) -> _Room:
    """A living room or an office."""
    size = rng.uniform((3.5, 3.0, 2.4), (8.0, 6.0, 3.5))
    while True:
        source, microphone = rng.uniform(0.5, size - 0.5, (2, 3))
        if 1.0 <= np.linalg.norm(source - microphone) <= 2.5:
            return _Room(size, source, microphone)


def _choose_reflection(room: _Room, direct: float, reach: float, rt60: float) -> float:
    """The walls' reflection coefficient (of pressure), by bisection; formulas are off by up to a third."""
    bins = int((reach - direct) / _SOUND / _BIN) + 1
    most = 2 + sum(int(reach / length) + 2 for length in room.size)
    energy = np.zeros(bins * most)  # of walls that reflect all
    for distance, reflections in _images(room, reach):
        place = ((distance - direct) / _SOUND / _BIN).astype(int).clip(0, bins - 1)
        energy += np.bincount(place * most + reflections, distance**-2.0, len(energy))
    energy, orders = energy.reshape(bins, most), np.arange(most)
    low, high = 1e-3, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        longer = decay_time(energy @ middle ** (2 * orders), _BIN) > rt60
        low, high = (low, middle) if longer else (middle, high)
    return low


def _images(room: _Room, reach: float):
    """Distance (n,) and number of reflections (n,) of the images nearer than ``reach``, piece by piece."""
    offsets, counts = zip(*(_axis(*sides, reach) for sides in zip(*room, strict=True)), strict=True)
    flat = np.add.outer(offsets[1] ** 2, offsets[2] ** 2).ravel()
    flat_counts = np.add.outer(counts[1], counts[2]).ravel()
    for offset, count in zip(offsets[0], counts[0], strict=True):
        near = flat + offset**2 < reach**2
        if near.any():
            yield np.sqrt(flat[near] + offset**2), flat_counts[near] + count


def _axis(length: float, source: float, microphone: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the images along one side of the room, and how often its two walls mirror each."""
    times = np.arange(-int(reach / (2 * length)) - 1, int(reach / (2 * length)) + 2)
    offsets = np.concatenate([2 * times * length + sign * source - microphone for sign in (1, -1)])
    return offsets, np.concatenate([np.abs(2 * times), np.abs(times - 1) + np.abs(times)])
