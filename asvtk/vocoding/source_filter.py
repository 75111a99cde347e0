"""Vocoders after the source-filter model: a vocal tract filter, and a source that is made up or kept."""

import numpy as np
import scipy

from asvtk.vocoding.dsp import (
    TINY,
    draw_ratio,
    excitation,
    frames,
    grid,
    guarded,
    hann,
    overlap_add,
    track_f0,
)

__all__ = ["homomorphic", "lpc_conversion", "lpc_vocoder"]


@guarded
def lpc_vocoder(audio, sample_rate, rng, *, order: int | None = None):
    """Linear prediction filter on pulses or noise, as in the LPC-10 family.

    Atal & Hanauer, "Speech analysis and synthesis by linear prediction of the speech wave", JASA
    50, 1971.

    Args:
        order: poles of the filter; None gives two per expected formant and four for the rest, that is
            4 + kHz of the sample rate.
    """
    size, hop = grid(sample_rate)
    blocks = frames(audio, size, hop) * hann(size)
    predictor = _predictors(blocks, order or 4 + sample_rate // 1000)
    return _excite(1 / _response(predictor, size + 1), audio, sample_rate, rng)


@guarded
def lpc_conversion(audio, sample_rate, rng, *, warp: float | None = None):
    """Another vocal tract on the true voice source: residual of linear prediction, formants times ``warp``.

    The idea of voice conversion by spectral filtering (Matrouf, Bonastre & Fredouille, "Effect of
    speech transformation on impostor acceptance", ICASSP 2006; A06 and A19 of ASVspoof 2019): phases
    and F0 stay as they were recorded. ``warp`` is drawn when None, 8 to 20 per cent up or down.
    """
    warp = draw_ratio(rng, 1.08, 1.20) if warp is None else warp
    size, hop = grid(sample_rate)
    blocks = frames(audio, size, hop) * hann(size)
    predictor = _predictors(blocks, 4 + sample_rate // 1000)
    filters = _response(predictor, size + 1) / _response(predictor, size + 1, warp)
    return overlap_add(scipy.fft.irfft(scipy.fft.rfft(blocks, 2 * size) * filters), hop, len(audio))


@guarded
def homomorphic(audio, sample_rate, rng, *, quefrency: float = 0.002):
    """Minimum-phase filter from the smoothed log spectrum, on pulses or noise.

    Oppenheim, "Speech analysis-synthesis system based on homomorphic filtering", JASA 45, 1969.

    Args:
        quefrency: seconds of the cepstrum that are kept; less is a smoother envelope.
    """
    size, hop = grid(sample_rate)
    spectra = scipy.fft.rfft(frames(audio, size, hop) * hann(size), 2 * size)
    cepstrum = scipy.fft.irfft(np.log(np.abs(spectra) + 1e-7))
    fold = np.zeros(2 * size)  # all of a minimum-phase filter's cepstrum is on the positive side
    kept = round(quefrency * sample_rate)
    fold[0], fold[1 : kept + 1] = 1, 2
    return _excite(np.exp(scipy.fft.rfft(cepstrum * fold)), audio, sample_rate, rng)


def _excite(filters, audio, sample_rate, rng):
    """Send pulses or noise, as F0 tells, through one filter per frame: (frames, bins of twice the frame).

    Each frame's filter gets the gain that gives the frame its energy back.
    """
    size, hop = grid(sample_rate)
    wanted = np.sum((frames(audio, size, hop) * hann(size)) ** 2, axis=1)
    filters = filters * np.sqrt(wanted / np.sum(np.abs(filters) ** 2, axis=1))[:, None]
    source = excitation(track_f0(audio, sample_rate, hop), hop, len(audio), sample_rate, rng)
    blocks = scipy.fft.rfft(frames(source, size, hop) * hann(size), 2 * size)
    return overlap_add(scipy.fft.irfft(blocks * filters), hop, len(audio))


def _predictors(blocks, order):
    """Prediction polynomials of windowed blocks: (frames, size) -> (frames, order + 1).

    The autocorrelation method, with Levinson's recursion on all frames at once (Makhoul, "Linear
    prediction: a tutorial review", Proc. IEEE 63(4), 1975). A white noise floor at -60 dB and a
    slightly widened bandwidth keep single harmonics of high voices from ringing.
    """
    power = np.abs(scipy.fft.rfft(blocks, 2 * blocks.shape[1])) ** 2
    correlation = scipy.fft.irfft(power)[:, : order + 1]
    correlation[:, 0] = 1.000001 * correlation[:, 0] + TINY
    predictor = np.zeros_like(correlation)
    predictor[:, 0] = 1
    error = correlation[:, 0].copy()
    for i in range(1, order + 1):
        reflection = -np.sum(predictor[:, :i] * correlation[:, i:0:-1], axis=1) / error
        predictor[:, 1 : i + 1] += reflection[:, None] * predictor[:, i - 1 :: -1][:, :i]
        error *= 1 - reflection**2
    return predictor * 0.994 ** np.arange(order + 1)


def _response(predictor, bins, warp=1.0):
    """The polynomials from 0 Hz to Nyquist, read at frequencies divided by ``warp``: (frames, bins)."""
    omega = np.minimum(np.linspace(0, np.pi, bins) / warp, np.pi)
    return predictor @ np.exp(-1j * np.outer(np.arange(predictor.shape[1]), omega))
