"""Registry of classic vocoders by name: speech taken apart and put together again (copy synthesis).

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

from collections.abc import Callable
from typing import NamedTuple

from asvtk.io.errors import AsvtkError, listing
from asvtk.vocoding import source_filter, spectral, world

__all__ = ["VOCODERS", "Vocoder", "vocode"]


class Vocoder(NamedTuple):
    """A method: ``kind`` is "vocoder" (the same voice) or "VC" (another voice, as voice conversion gives)."""

    kind: str
    description: str
    function: Callable


#: name -> method
VOCODERS: dict[str, Vocoder] = {
    "world": Vocoder("vocoder", "WORLD, all parameters", world.world),
    "world_coded": Vocoder("vocoder", "WORLD with coded envelope and aperiodicity", world.world_coded),
    "world_buzzy": Vocoder("vocoder", "WORLD without aperiodicity", world.world_buzzy),
    "world_conversion": Vocoder("VC", "WORLD with F0 and formants moved", world.world_conversion),
    "griffin_lim": Vocoder("vocoder", "Griffin-Lim from a mel spectrogram", spectral.griffin_lim),
    "random_phase": Vocoder("vocoder", "true magnitudes, random phases", spectral.random_phase),
    "zero_phase": Vocoder("vocoder", "true magnitudes, zero phases", spectral.zero_phase),
    "channel_noise": Vocoder("vocoder", "channel vocoder, noise-excited", spectral.channel_noise),
    "channel_pulse": Vocoder("vocoder", "channel vocoder, pulse-excited", spectral.channel_pulse),
    "sinusoidal": Vocoder("vocoder", "sinusoids at spectral peaks", spectral.sinusoidal),
    "harmonic": Vocoder("vocoder", "harmonics of F0, phases made up", spectral.harmonic),
    "lpc_vocoder": Vocoder("vocoder", "linear prediction, pulse/noise source", source_filter.lpc_vocoder),
    "homomorphic": Vocoder(
        "vocoder", "minimum-phase cepstral filter, pulse/noise source", source_filter.homomorphic
    ),
    "lpc_conversion": Vocoder(
        "VC", "linear prediction residual, warped formants", source_filter.lpc_conversion
    ),
}


def vocode(name: str, audio, sample_rate: int, rng, **setting):
    """Run the method ``name`` of :data:`VOCODERS`; arguments and result as the module says.

    Raises:
        AsvtkError: no method of that name, audio that no method can take, or pyworld is missing.
    """
    if name not in VOCODERS:
        raise AsvtkError(f"no vocoder {name!r}; there are {listing(VOCODERS, limit=99)}")
    return VOCODERS[name].function(audio, sample_rate, rng, **setting)
