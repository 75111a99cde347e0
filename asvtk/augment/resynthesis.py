"""Copy-synthesis: speech taken apart and put together again by a classic vocoder.

The result says the same words, in time with the original, and carries the traces of a machine. It
serves as the spoofs of the generated corpus of egs/mini, and as extra training spoofs from the bona
fide speech of any corpus (the idea of Wang & Yamagishi, "Spoofed training data for speech spoofing
countermeasure can be efficiently created using neural vocoders", ICASSP 2023).

Every method is a function ``(audio, sample_rate, rng, **setting) -> audio``:

    audio: (samples,) float32 or float64, full scale at 1
    sample_rate: in Hz
    rng: a numpy Generator; all that is random comes from it
    setting: keywords of the method, each with a default

and returns as many samples of the same type and RMS level, never beyond full scale or the input's own
peak, whichever is higher; silence stays silence. It raises :class:`AsvtkError` for audio
that is not one channel of finite floats, and, for the WORLD methods, when pyworld is missing.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from asvtk.augment.vocoders import source_filter, spectral, world
from asvtk.augment.vocoders.neural import neural
from asvtk.io.errors import AsvtkError, listing

__all__ = [
    "NEURAL",
    "RESYNTHESES",
    "NeuralResynthesis",
    "Resynthesis",
    "age_of",
    "find_method",
    "resynthesise",
]


class Resynthesis(NamedTuple):
    """A method: ``kind`` is "vocoder" (the same voice) or "VC" (another voice, as voice conversion gives)."""

    kind: str
    description: str
    function: Callable


#: name -> method
RESYNTHESES: dict[str, Resynthesis] = {
    "world": Resynthesis("vocoder", "WORLD, all parameters", world.world),
    "world_coded": Resynthesis("vocoder", "WORLD with coded envelope and aperiodicity", world.world_coded),
    "world_buzzy": Resynthesis("vocoder", "WORLD without aperiodicity", world.world_buzzy),
    "world_conversion": Resynthesis("VC", "WORLD with F0 and formants moved", world.world_conversion),
    "griffin_lim": Resynthesis("vocoder", "Griffin-Lim from a mel spectrogram", spectral.griffin_lim),
    "random_phase": Resynthesis("vocoder", "true magnitudes, random phases", spectral.random_phase),
    "zero_phase": Resynthesis("vocoder", "true magnitudes, zero phases", spectral.zero_phase),
    "channel_noise": Resynthesis("vocoder", "channel vocoder, noise-excited", spectral.channel_noise),
    "channel_pulse": Resynthesis("vocoder", "channel vocoder, pulse-excited", spectral.channel_pulse),
    "sinusoidal": Resynthesis("vocoder", "sinusoids at spectral peaks", spectral.sinusoidal),
    "harmonic": Resynthesis("vocoder", "harmonics of F0, phases made up", spectral.harmonic),
    "lpc_vocoder": Resynthesis("vocoder", "linear prediction, pulse/noise source", source_filter.lpc_vocoder),
    "homomorphic": Resynthesis(
        "vocoder", "minimum-phase cepstral filter, pulse/noise source", source_filter.homomorphic
    ),
    "lpc_conversion": Resynthesis(
        "VC", "linear prediction residual, warped formants", source_filter.lpc_conversion
    ),
}


class NeuralResynthesis(NamedTuple):
    """A method that needs the weights of the vocoder ``generator``, whose ``copy`` has the ``settings``."""

    kind: str
    description: str
    generator: str
    settings: dict[str, float]

    def function(self, weights: str) -> Callable:
        """The method, with the weights in a file."""
        return functools.partial(neural, generator=self.generator, weights=weights, settings=self.settings)


#: name -> method; all by vocoders that were trained on the corpus itself (``asvtk.augment.neural``)
NEURAL: dict[str, NeuralResynthesis] = {
    "neural_spectral": NeuralResynthesis("vocoder", "neural, magnitudes and phases", "spectral", {}),
    "neural_spectral_smooth": NeuralResynthesis(
        "vocoder", "neural, magnitudes and phases, of smooth mel spectra", "spectral", {"smooth": 3}
    ),
    "neural_upsampling": NeuralResynthesis("vocoder", "neural, transposed convolutions", "upsampling", {}),
    "neural_upsampling_smooth": NeuralResynthesis(
        "vocoder", "neural, transposed convolutions, of smooth mel spectra", "upsampling", {"smooth": 3}
    ),
    "neural_harmonic": NeuralResynthesis(
        "vocoder", "neural, filters on harmonics of F0 and on noise", "harmonic", {}
    ),
    "neural_harmonic_smooth": NeuralResynthesis(
        "vocoder", "neural, filters of smooth mel spectra on harmonics and noise", "harmonic", {"smooth": 3}
    ),
    "neural_flow": NeuralResynthesis("vocoder", "neural, flow from noise", "flow", {"steps": 10}),
    "neural_flow_part3": NeuralResynthesis(
        "vocoder", "neural, flow from 0.3 speech in noise", "flow", {"steps": 8, "begin": 0.3}
    ),
    "neural_flow_part6": NeuralResynthesis(
        "vocoder", "neural, flow from 0.6 speech in noise", "flow", {"steps": 4, "begin": 0.6}
    ),
}


def find_method(name: str) -> Resynthesis | NeuralResynthesis | None:
    """The method of a name, if there is one; ``NAME@STEPS`` is a neural one with a vocoder that young."""
    if name in RESYNTHESES:
        return RESYNTHESES[name]
    base, at, steps = name.partition("@")
    return NEURAL.get(base) if not at or (steps.isascii() and steps.isdigit() and steps[0] != "0") else None


def age_of(name: str) -> int | None:
    """The steps after which a known neural method's vocoder was kept; None: at the end of its training."""
    steps = name.partition("@")[2]
    return int(steps) if steps else None


def resynthesise(name: str, audio, sample_rate: int, rng, **setting):
    """Run the method ``name`` of :data:`RESYNTHESES`; arguments and result as the module says.

    Raises:
        AsvtkError: no method of that name, audio that no method can take, or pyworld is missing.
    """
    if name not in RESYNTHESES:
        raise AsvtkError(f"no resynthesis {name!r}; there are {listing(RESYNTHESES, limit=99)}")
    return RESYNTHESES[name].function(audio, sample_rate, rng, **setting)
