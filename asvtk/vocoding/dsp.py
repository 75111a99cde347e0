"""Signal processing that the vocoders share: framing, overlap-add, mel bands, F0, excitation, levels.

One convention makes them short. Synthesis frames are four hops long and start a whole frame before
the signal, so that Hann windows overlap to a constant from the first sample to the last, and nothing
has to be divided out. That constant, like every other fixed gain, is taken care of by :func:`guarded`.
"""

import functools

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

from asvtk.io.errors import AsvtkError

__all__ = [
    "draw_ratio",
    "excitation",
    "frames",
    "grid",
    "guarded",
    "hann",
    "istft",
    "mel_matrix",
    "overlap_add",
    "stft",
    "track_f0",
]

#: noise under every signal, relative to its RMS (-100 dB): keeps logarithms and divisions finite in
#: the digital silence of real recordings, and stays under the last bit of 16-bit audio
DITHER = 1e-5
#: shortest signal that a vocoder sees, in seconds; shorter ones get silence behind them
SHORTEST = 0.1
#: loudest sample that a vocoder may add to a signal that had none as loud
CEILING = 0.99
TINY = 1e-30


def guarded(method):
    """Make a vocoder safe for any recording, and keep its level out of the game.

    The method gets a float64 signal of RMS 1, at least 0.1 s long and nowhere exactly silent; it may
    return any gain and a longer signal. What comes out has the length, type and RMS of the input.
    Peaks beyond full scale (a vocoder's phases are often peakier than a voice's) are bent, not cut,
    and the rest raised until the RMS fits again. What is below 40 Hz, where no voice is, goes around
    the vocoder: offset and rumble of real recordings are as they were, and break no method's levels.

    Raises:
        AsvtkError: the audio is not one channel of finite floating-point samples.
    """

    @functools.wraps(method)
    def run(audio, sample_rate, rng, **setting):
        audio = np.asarray(audio)
        if audio.ndim != 1 or audio.dtype.kind != "f":
            raise AsvtkError(
                f"a vocoder expects float audio of shape (samples,), got {audio.dtype} {audio.shape}; "
                "pick one channel and scale integers to -1..1 first"
            )
        if not np.isfinite(audio).all():
            raise AsvtkError("a vocoder met nan or infinite samples; the recording is broken, leave it out")
        if not audio.any():
            return audio.copy()
        rumble = _rumble(audio.astype(np.float64), sample_rate)
        voice = audio - rumble
        own = _rms(voice)
        if own < TINY:
            return audio.copy()
        missing = max(0, int(SHORTEST * sample_rate) - len(audio))
        ready = np.pad(voice / own, (0, missing))
        ready += DITHER * rng.standard_normal(len(ready))
        made = method(ready, sample_rate, rng, **setting)[: len(audio)]
        made = made - _rumble(made, sample_rate)
        top = max(CEILING, np.abs(audio).max())
        # The RMS that gives the whole, with the rumble, that of the input; near 40 Hz the two have waves
        # in common, so that their powers do not just add up.
        shared = np.mean(made * rumble) / max(_rms(made), TINY)
        level = np.sqrt(shared**2 + max(0.0, _rms(audio) ** 2 - _rms(rumble) ** 2)) - shared
        made = _fit(made, level, max(top - np.abs(rumble).max(), np.abs(voice).max()))
        return np.clip(made + rumble, -top, top).astype(audio.dtype)

    return run


def _rumble(values, sample_rate):
    """What is below 40 Hz: two moving averages of 25 ms, which do not ring on into silence."""
    period = round(sample_rate / 40)
    for _ in range(2):
        values = scipy.ndimage.uniform_filter1d(values, period, mode="nearest")
    return values


def _rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if len(values) else 0.0


def _fit(values, level, ceiling):
    """Scale to RMS ``level``; where that passes ``ceiling``, bend the peaks and raise the rest."""
    values = values * (level / max(_rms(values), TINY))
    if np.abs(values).max() <= ceiling:
        return values
    knee = 0.8 * ceiling
    gain = 1.0
    for _ in range(30):
        size = np.abs(gain * values)
        above = np.maximum(size - knee, 0) / (ceiling - knee)
        bent = np.minimum(size, knee) + (ceiling - knee) * np.tanh(above)
        gain *= level / _rms(bent)
    return np.copysign(bent, values)


def draw_ratio(rng, low: float, high: float) -> float:
    """A ratio between ``low`` and ``high`` (both > 1), or as often one over it."""
    return float(rng.uniform(low, high) ** rng.choice([-1, 1]))


def grid(sample_rate: int, seconds: float = 0.032) -> tuple[int, int]:
    """Frame size (four hops) and hop in samples, for frames of about ``seconds``."""
    hop = round(seconds * sample_rate / 4)
    return 4 * hop, hop


def hann(size: int):
    return scipy.signal.get_window("hann", size)


def frames(values, size: int, hop: int):
    """Cut a signal into overlapping frames: (samples,) -> (frames, size).

    Frame ``i`` is centred on sample ``(i - 2) * hop`` whatever its size, so that analyses with
    different windows line up. Outside the signal there are zeros.
    """
    count = -(-len(values) // hop) + 5
    padded = np.pad(values, (2 * hop + size // 2, size + 3 * hop))
    return sliding_window_view(padded, size)[::hop][:count]


def overlap_add(blocks, hop: int, length: int):
    """Sum blocks that start every ``hop`` samples: (frames, size) -> (length,).

    The first block starts four hops before the signal, where :func:`frames` puts it. Blocks may be
    longer than four hops (a filter's tail); their size is a multiple of the hop.
    """
    count, size = blocks.shape
    total = np.zeros((count + size // hop, hop), blocks.dtype)
    for part in range(size // hop):
        total[part : part + count] += blocks[:, part * hop : (part + 1) * hop]
    return total.ravel()[4 * hop : 4 * hop + length]


def stft(values, size: int, hop: int):
    """Hann-windowed spectra, of the precision of the signal: (samples,) -> (frames, size // 2 + 1)."""
    return scipy.fft.rfft(frames(values, size, hop) * hann(size).astype(values.dtype))


def istft(spectra, size: int, hop: int, length: int):
    """The signal whose spectra are nearest to ``spectra``, by least squares (Griffin & Lim, 1984)."""
    window = (hann(size) / 1.5).astype(spectra.real.dtype)
    return overlap_add(scipy.fft.irfft(spectra, size) * window, hop, length)


def mel_matrix(bands: int, size: int, sample_rate: int):
    """Triangular mel filters of height 1 between 0 Hz and Nyquist: (bands, size // 2 + 1).

    The mel scale is 2595 log10(1 + f / 700). A triangle is never narrower than a bin, so that none is empty.
    """
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1) * size / sample_rate  # in bins
    centres = corners[1:-1, None]
    distance = np.arange(size // 2 + 1) - centres
    rise = np.maximum(centres - corners[:-2, None], 1.0)
    fall = np.maximum(corners[2:, None] - centres, 1.0)
    return np.maximum(0, 1 - np.where(distance < 0, -distance / rise, distance / fall))


def track_f0(values, sample_rate: int, hop: int, lowest: float = 65.0, highest: float = 420.0):
    """Fundamental frequency in Hz of each frame of :func:`frames`, 0 where unvoiced: (samples,) -> (frames,).

    The highest peak of the autocorrelation, divided by that of the window (Boersma, 1993, "Accurate
    short-term analysis of the fundamental frequency ..."), with a small bonus for short periods
    against octave errors, and a median over five frames instead of a path search.
    """
    size = round(3 * sample_rate / lowest)
    window = hann(size)
    blocks = frames(values, size, hop) * window
    shortest, longest = int(sample_rate / highest), int(sample_rate / lowest)
    power = (
        np.abs(scipy.fft.rfft(np.vstack([window, blocks]), scipy.fft.next_fast_len(2 * size, real=True))) ** 2
    )
    correlation = scipy.fft.irfft(power)[:, : longest + 2]
    correlation /= correlation[:, :1] + TINY
    correlation = correlation[1:] / correlation[0]
    lags = np.arange(shortest, longest + 1)
    best = lags[np.argmax(correlation[:, lags] - 0.03 * np.log2(lags / shortest), axis=1)]
    row = np.arange(len(best))
    before, peak, after = (correlation[row, best + step] for step in (-1, 0, 1))
    bend = np.maximum(2 * peak - before - after, 1e-9)
    lag = best + np.clip((after - before) / (2 * bend), -0.5, 0.5)
    energy = np.mean(blocks**2, axis=1)
    voiced = (peak > 0.45) & (energy > 1e-4 * energy.max())
    return scipy.signal.medfilt(np.where(voiced, sample_rate / lag, 0.0), 5)


def excitation(f0, hop: int, length: int, sample_rate: int, rng):
    """The source of a two-state vocoder, of power 1: pulses at ``f0`` where voiced, white noise elsewhere."""
    at = np.arange(length)
    nearest = (at + hop // 2) // hop + 2
    source = rng.standard_normal(length)
    voiced = f0[nearest] > 0
    if voiced.any():
        known = np.flatnonzero(f0)
        contour = np.interp(at, (known - 2) * hop, f0[known])
        cycles = np.floor(np.cumsum(contour) / sample_rate)
        pulses = np.diff(cycles, prepend=0) * np.sqrt(sample_rate / contour)
        source = np.where(voiced, pulses, source)
    return source
