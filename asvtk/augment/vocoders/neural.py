"""Copy-synthesis by the neural vocoders of :mod:`asvtk.augment.neural`, from their weights.

Weights are a safetensors file that ``asvtk resynth train`` wrote; nothing in it is executed.
"""

import functools
from collections.abc import Mapping

import numpy as np

from asvtk.augment.vocoders.parts import guarded

__all__ = ["neural"]


@guarded
def neural(audio, sample_rate, rng, *, generator: str, weights: str, settings: Mapping):
    """The copy that a generator makes.

    Args:
        generator: of :data:`asvtk.augment.neural.generators.GENERATORS`.
        weights: its weights, a file.
        settings: keywords of its method ``copy``.
    """
    import torch  # not for those who make classic spoofs alone

    from asvtk.augment.neural.spectra import HOP
    from asvtk.augment.neural.training import LEVEL

    model = _load(generator, weights)
    padded = np.pad(audio * LEVEL, (0, -len(audio) % HOP)).astype(np.float32)
    with torch.inference_mode():
        return model.copy(torch.from_numpy(padded).unsqueeze(0), rng, **settings)[0].double().numpy()


@functools.cache  # a clip is made by one method after another: all vocoders stay
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
