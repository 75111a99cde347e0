"""WORLD: F0, spectral envelope and aperiodicity, taken apart and put together again.

Morise, Yokomori & Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system for real-time
applications", IEICE Trans. Inf. & Syst. E99-D(7), 2016, through the optional package pyworld.
"""

import warnings

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.vocoding.dsp import draw_ratio, guarded

__all__ = ["world", "world_buzzy", "world_coded", "world_conversion"]

#: below this rate WORLD has no aperiodicity band, and pyworld's coder of it fails
LOWEST_CODED_RATE = 12000


@guarded
def world(audio, sample_rate, rng):
    """All of WORLD's parameters, untouched."""
    return _pyworld().synthesize(*_analyse(audio, sample_rate), sample_rate)


@guarded
def world_coded(audio, sample_rate, rng, *, coefficients: int = 40):
    """WORLD with the few numbers per frame that a parametric text-to-speech system predicts.

    Args:
        coefficients: mel-cepstral coefficients of the envelope; the aperiodicity becomes one number
            per 3 kHz band.
    """
    pyworld = _pyworld()
    f0, envelope, aperiodicity = _analyse(audio, sample_rate)
    size = 2 * (envelope.shape[1] - 1)
    coded = pyworld.code_spectral_envelope(envelope, sample_rate, coefficients)
    envelope = pyworld.decode_spectral_envelope(coded, sample_rate, size)
    if sample_rate >= LOWEST_CODED_RATE:
        coded = pyworld.code_aperiodicity(aperiodicity, sample_rate)
        aperiodicity = pyworld.decode_aperiodicity(coded, sample_rate, size)
    return pyworld.synthesize(f0, envelope, aperiodicity, sample_rate)


@guarded
def world_buzzy(audio, sample_rate, rng):
    """WORLD with pure pulses in voiced speech: the noise between the harmonics is gone."""
    f0, envelope, aperiodicity = _analyse(audio, sample_rate)
    aperiodicity = np.where(f0[:, None] > 0, 1e-3, aperiodicity)
    return _pyworld().synthesize(f0, envelope, aperiodicity, sample_rate)


@guarded
def world_conversion(audio, sample_rate, rng, *, pitch: float | None = None, warp: float | None = None):
    """Another voice: F0 times ``pitch`` and formant frequencies times ``warp``.

    ``warp`` is drawn when None, 6 to 18 per cent up or down. ``pitch`` is then its square, two to six
    semitones the same way, as small people have a small larynx as well as a short vocal tract.
    """
    f0, envelope, aperiodicity = _analyse(audio, sample_rate)
    warp = draw_ratio(rng, 1.06, 1.18) if warp is None else warp
    pitch = warp**2 if pitch is None else pitch
    bins = envelope.shape[1]
    source = np.minimum(np.arange(bins) / warp, bins - 1)
    low = np.minimum(source.astype(int), bins - 2)
    share = source - low
    log_envelope = np.log(envelope)
    warped = np.exp((1 - share) * log_envelope[:, low] + share * log_envelope[:, low + 1])
    return _pyworld().synthesize(f0 * pitch, np.ascontiguousarray(warped), aperiodicity, sample_rate)


def _pyworld():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources announces its end at every import
            import pyworld
    except ImportError as error:
        raise AsvtkError(
            f"the WORLD vocoder needs pyworld, which cannot be imported ({error}). Install it with "
            'pip install "asvtk[mini]"; pyworld 0.3.5 needs setuptools < 81, which still has pkg_resources.'
        ) from error
    return pyworld


def _analyse(audio, sample_rate):
    """F0 (frames,) in Hz, power envelope and aperiodicity (frames, bins), a frame every 5 ms.

    DIO with StoneMask, not Harvest: Harvest takes half as long as the recording lasts.
    """
    pyworld = _pyworld()
    f0, seconds = pyworld.dio(audio, sample_rate)
    f0 = pyworld.stonemask(audio, f0, seconds, sample_rate)
    envelope = pyworld.cheaptrick(audio, f0, seconds, sample_rate)
    return f0, envelope, pyworld.d4c(audio, f0, seconds, sample_rate)
