"""How much of a recording is speech, by Silero VAD (package silero-vad, which brings its weights)."""

import functools

import numpy as np

from asvtk.io.audio import SAMPLE_RATE

__all__ = ["MIN_SPEECH", "has_speech"]

#: seconds of speech below which nothing can be said of its origin
MIN_SPEECH = 1.0
_WINDOW = 512  # samples that the detector hears at a time
_PIECE = 30 * SAMPLE_RATE
_SPEECH = 0.5  # probability
_LEVEL = 0.1  # RMS that the detector is given: it takes faint speech for none
_SILENCE = 2.0**-13  # four steps of 16 bits: nothing louder is digital silence, with or without dither


def has_speech(samples: np.ndarray, least: float = MIN_SPEECH) -> bool:
    """Whether a recording holds so many seconds of speech.

    Args:
        samples: float at 16 kHz, full scale at 1, shape (samples,).
        least: seconds.
    """
    wanted = round(least * SAMPLE_RATE / _WINDOW)
    if len(samples) < least * SAMPLE_RATE:
        return False
    found = 0
    for begin in range(0, len(samples), _PIECE):
        found += _speech_windows(samples[begin : begin + _PIECE])
        if found >= wanted:
            return True
    return False


def _speech_windows(samples: np.ndarray) -> int:
    import torch

    samples = samples - samples.mean()
    if np.abs(samples).max() < _SILENCE:
        return 0
    samples = samples * min(_LEVEL / np.sqrt(np.mean(samples**2)), 1 / np.abs(samples).max())
    padded = np.pad(samples, (0, -len(samples) % _WINDOW)).astype(np.float32)
    with torch.inference_mode():
        probabilities = _model().audio_forward(torch.from_numpy(padded[None]), sr=SAMPLE_RATE)
    return int((probabilities >= _SPEECH).sum())


@functools.cache
def _model():
    import torch

    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad  # sets the number of threads for the whole process

    torch.set_num_threads(threads)
    return load_silero_vad()
