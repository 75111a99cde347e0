"""Copy-synthesis by the neural vocoders of :mod:`asvtk.augment.neural`, from their weights.

Weights are a safetensors file that ``asvtk resynth train`` wrote; nothing in it is executed.
"""

import functools

import numpy as np

from asvtk.augment.vocoders.parts import guarded

__all__ = ["neural"]


@guarded
def neural(audio, sample_rate, rng, *, generator: str, weights: str, smooth: int = 1):
    """Log-mel spectrum, and a waveform made of it.

    Args:
        generator: of :data:`asvtk.augment.neural.generators.GENERATORS`.
        weights: its weights, a file.
        smooth: frames that the log-mel spectrum is averaged over, an odd number: acoustic models of
            text-to-speech and voice conversion predict smoother spectra than recordings have.
    """
    import torch  # not for those who make classic spoofs alone
    from torch.nn import functional as F

    from asvtk.augment.neural.spectra import HOP, log_mel
    from asvtk.augment.neural.training import LEVEL

    model = _load(generator, weights)
    padded = np.pad(audio * LEVEL, (0, -len(audio) % HOP)).astype(np.float32)
    with torch.inference_mode():
        mel = log_mel(torch.from_numpy(padded).unsqueeze(0))
        mel = F.avg_pool1d(F.pad(mel, (smooth // 2, smooth // 2), "replicate"), smooth, 1)
        return model(mel)[0].double().numpy()


@functools.lru_cache(maxsize=2)
def _load(generator: str, weights: str):
    """
    Raises:
        AsvtkError: there are no weights, or they are not this generator's.
    """
    import torch

    from asvtk.augment.neural.generators import GENERATORS
    from asvtk.augment.neural.weights import load_generator

    torch.set_num_threads(1)  # the processes that make spoofs share the cores already
    return load_generator(weights, GENERATORS[generator]())
