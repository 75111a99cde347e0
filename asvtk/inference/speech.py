"""Voice activity detection by Silero VAD (package silero-vad, which brings its weights)."""

import functools

import numpy as np

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError

__all__ = ["MIN_SPEECH", "has_speech", "require_detector"]

#: seconds of speech below which nothing can be said of its origin
MIN_SPEECH = 1.0
_PIECE = 30 * SAMPLE_RATE
_LEVEL = 0.1  # RMS that the detector is given: it takes faint speech for none
_SILENCE = 2.0**-13  # four steps of 16 bits: nothing louder is digital silence, with or without dither


def has_speech(samples: np.ndarray, least: float = MIN_SPEECH) -> bool:
    """Whether a recording holds so many seconds of speech.

    Args:
        samples: float at 16 kHz, full scale at 1, shape (samples,).
        least: seconds.
    """
    if len(samples) < least * SAMPLE_RATE:
        return False
    speech = 0
    for begin in range(0, len(samples), _PIECE):
        speech += _speech_samples(samples[begin : begin + _PIECE])
        if speech >= least * SAMPLE_RATE:
            return True
    return False


def require_detector() -> None:
    """
    Raises:
        AsvtkError: the package is not installed.
    """
    try:
        _detector()
    except ImportError as error:
        raise AsvtkError(f"speech cannot be told from noise ({error}): pip install silero-vad") from None


def _speech_samples(samples: np.ndarray) -> int:
    samples = samples - samples.mean()
    peak = np.abs(samples).max()
    if peak < _SILENCE:
        return 0
    import torch

    samples *= min(_LEVEL / np.sqrt(np.mean(samples**2)), 1 / peak)
    model, find = _detector()
    with torch.inference_mode():
        stretches = find(torch.from_numpy(samples.astype(np.float32)), model, sampling_rate=SAMPLE_RATE)
    return sum(part["end"] - part["start"] for part in stretches)


@functools.cache
def _detector():
    """The model, and the package's function that finds stretches of speech with it."""
    import torch

    threads = torch.get_num_threads()
    import silero_vad  # sets the number of threads of the whole process

    torch.set_num_threads(threads)
    return silero_vad.load_silero_vad(), silero_vad.get_speech_timestamps
