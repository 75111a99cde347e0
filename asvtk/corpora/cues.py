"""What a recording's equipment and editing leave on it, measured: numbers that say nothing of who speaks.

A corpus that takes its bona fide speech from one place and its spoofs from another may tell them apart by
one of these alone, and so may what is trained on it. Speech that was resampled from a higher rate, for one,
has nothing left just below 8 kHz, and what was recorded at 16 kHz has.
"""

import numpy as np

from asvtk.io.audio import SAMPLE_RATE

__all__ = ["CUES", "is_band_limited", "measure_cues"]

#: name -> unit
CUES = {
    "length": "s",
    "level": "dB",
    "silence before": "s",
    "silence behind": "s",
    "signal to noise": "dB",
    "fall at 7.75 kHz": "dB",
}

_FRAME = 320  # samples of a frame of levels: 20 ms
_SILENCE_DB = 40.0  # so far below the loudest frame is silence
_WINDOW = 512  # samples of a spectrum
#: Hz: what is compared with what. Resampling filters begin to fall at 0.91 to 0.95 of half the rate
_BELOW, _AT_END = (7000, 7400), (7750, 7970)
_LIMITED_DB = 12.0


def measure_cues(samples: np.ndarray) -> dict[str, float]:
    """The numbers of ``CUES``.

    Level: the RMS, below full scale. Silence: before the first and behind the last frame that is not 40 dB
    below the loudest. Signal to noise: from the 5th to the 95th percentile of the frames' levels. The fall:
    of the mean power, from 7.0-7.4 to 7.75-7.97 kHz.

    Args:
        samples: of a clip at 16 kHz, shape (samples,).
    """
    whole = np.pad(samples, (0, -len(samples) % _FRAME)).astype(np.float64).reshape(-1, _FRAME)
    levels = _decibels(np.square(whole).mean(axis=1))
    loud = np.flatnonzero(levels > levels.max() - _SILENCE_DB)
    low, high = np.percentile(levels, (5, 95))
    return {
        "length": len(samples) / SAMPLE_RATE,
        "level": float(_decibels(np.square(samples, dtype=np.float64).mean())),
        "silence before": loud[0] * _FRAME / SAMPLE_RATE,
        "silence behind": (len(levels) - 1 - loud[-1]) * _FRAME / SAMPLE_RATE,
        "signal to noise": float(high - low),
        "fall at 7.75 kHz": _fall(samples),
    }


def is_band_limited(samples: np.ndarray) -> bool:
    """Whether a recording's band ends below 8 kHz: its power falls by more than 12 dB at 7.75 kHz.

    Speech and its noise fall by a few dB there, resampled or low-passed recordings by 20 and more.

    Args:
        samples: at 16 kHz, shape (samples,), as much as is at hand.
    """
    return _fall(samples) > _LIMITED_DB


def _fall(samples: np.ndarray) -> float:
    samples = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[:: _WINDOW // 2]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1))).mean(axis=0)
    frequency = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    below, at_end = (power[(frequency > low) & (frequency < high)].mean() for low, high in (_BELOW, _AT_END))
    return float(_decibels(below) - _decibels(at_end))


def _decibels(power):
    return 10 * np.log10(np.maximum(power, 1e-12))
