"""Shortcuts of a recording, measured: what equipment and editing leave on it, and says nothing of who speaks.

A corpus that takes its bona fide speech from one place and its spoofs from another may tell them apart by
one of these alone, and so may what is trained on it. Speech that was resampled from a higher rate, for one,
has nothing left just below 8 kHz, and what was recorded at 16 kHz has.
"""

import numpy as np

from asvtk.io.audio import SAMPLE_RATE

__all__ = ["BAND_LIMITED_DB", "SHORTCUTS", "measure_shortcuts", "sounding"]

#: name -> unit
SHORTCUTS = {
    "length": "s",
    "level": "dB",
    "silence before": "s",
    "silence behind": "s",
    "signal to noise": "dB",
    "fall at 7.75 kHz": "dB",
}

_FRAME = 320  # samples of a frame of levels: 20 ms
_WINDOW = 512  # samples of a spectrum
#: Hz: what is compared with what. Resampling filters begin to fall at 0.91 to 0.95 of half the rate
_BELOW, _AT_END = (7000, 7400), (7750, 7970)
#: dB: a larger fall is that of a recording whose band ends below 8 kHz. Speech and its noise fall by a few
#: there, resampled or low-passed recordings by 20 and more
BAND_LIMITED_DB = 12.0


def measure_shortcuts(samples: np.ndarray) -> dict[str, float]:
    """The numbers of ``SHORTCUTS``.

    Level: the RMS, below full scale. Silence: before the first and behind the last frame that is not 40 dB
    below the loudest. Signal to noise: from the 5th to the 95th percentile of the frames' levels. The fall:
    of the mean power, from 7.0-7.4 to 7.75-7.97 kHz.

    Args:
        samples: of a clip at 16 kHz, shape (samples,).
    """
    power = _frame_power(samples, _FRAME)
    sound = sounding(samples)
    low, high = np.percentile(_decibels(power), (5, 95))
    return {
        "length": len(samples) / SAMPLE_RATE,
        "level": float(_decibels(np.square(samples, dtype=np.float64).mean())),
        "silence before": sound.start / SAMPLE_RATE,
        "silence behind": (len(power) * _FRAME - sound.stop) / SAMPLE_RATE,
        "signal to noise": float(high - low),
        "fall at 7.75 kHz": _fall(samples),
    }


def sounding(samples: np.ndarray, below: float = 40.0, frame: int = _FRAME) -> slice:
    """Where a clip is not silent: from its first to its last frame that is not so many dB below the loudest.

    Pauses inside count, and a clip that is silent all through counts whole. The end is that of a whole frame,
    so up to a frame behind the clip's.
    """
    power = _frame_power(samples, frame)
    loud = np.flatnonzero(power > power.max() * 10 ** (-below / 10))
    first, last = (loud[0], loud[-1]) if len(loud) else (0, len(power) - 1)
    return slice(int(first) * frame, int(last + 1) * frame)


def _frame_power(samples: np.ndarray, frame: int) -> np.ndarray:
    whole = np.pad(samples, (0, -len(samples) % frame)).astype(np.float64)
    return np.square(whole).reshape(-1, frame).mean(axis=1)


def _fall(samples: np.ndarray) -> float:
    samples = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[:: _WINDOW // 2]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1))).mean(axis=0)
    frequency = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    below, at_end = (power[(frequency > low) & (frequency < high)].mean() for low, high in (_BELOW, _AT_END))
    return float(_decibels(below) - _decibels(at_end))


def _decibels(power):
    return 10 * np.log10(np.maximum(power, 1e-12))
