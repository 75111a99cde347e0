"""Where a recording's band ends: what was resampled from a higher rate has little left just below 8 kHz.

A corpus that takes its bona fide speech from one place and its spoofs from another may tell them apart by
that alone.
"""

import numpy as np

from asvtk.io.audio import SAMPLE_RATE

__all__ = ["is_band_limited"]

_FRAME = 512
#: Hz: what is compared with what. Resampling filters begin to fall at 0.91 to 0.95 of half the rate
_BELOW, _AT_END = (7000, 7400), (7750, 7970)
_DROP_DB = 12.0


def is_band_limited(samples: np.ndarray) -> bool:
    """Whether a recording's power falls by more than 12 dB from 7.0-7.4 to 7.75-7.97 kHz.

    Speech and its noise fall by a few dB there, resampled or low-passed recordings by 20 and more.

    Args:
        samples: at 16 kHz, shape (samples,), as much as is at hand.
    """
    if len(samples) < _FRAME:
        samples = np.pad(samples, (0, _FRAME - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[:: _FRAME // 2] * np.hanning(_FRAME)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).mean(axis=0)
    frequency = np.fft.rfftfreq(_FRAME, 1 / SAMPLE_RATE)
    below, at_end = (power[(frequency > low) & (frequency < high)].mean() for low, high in (_BELOW, _AT_END))
    return bool(below > at_end * 10 ** (_DROP_DB / 10))
