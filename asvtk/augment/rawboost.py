"""RawBoost augmentation: the nuisances of a telephone line, put on speech with no other data.

Source: Tak, Kamble, Patino, Todisco and Evans, "RawBoost: a raw data boosting and augmentation method
applied to automatic speaker verification anti-spoofing", ICASSP 2022, arXiv 2111.04433. Three noises

    LnL  convolutive: powers of the signal (a device that saturates), each through a random filter
    ISD  impulsive: some samples, taken anywhere, change in proportion to themselves
    SSI  stationary: filtered white noise, whatever the signal is

make up the algorithms of published systems:

    0 none     1 LnL     2 ISD     3 SSI     4 LnL, then ISD, then SSI
    5 LnL, then ISD     6 LnL, then SSI     7 ISD, then SSI     8 LnL and ISD side by side, added

Each noise is drawn first, then applied: ``Kind.draw(config, samples, rng)`` makes all random choices for
that many samples, and the result, a plain tuple of numbers, maps any such signal without chance.

A random filter is a cascade of band-stop FIR filters, symmetric and thus of linear phase. Its delay is
taken away, so only its zero-phase response counts, which is real: the cascade is a product of numbers.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

from asvtk.augment.levels import add_noise, below_full_scale, check_range
from asvtk.io.audio import SAMPLE_RATE

__all__ = [
    "ALGORITHMS",
    "ConvolutiveNoise",
    "ImpulsiveNoise",
    "Notches",
    "RawBoostConfig",
    "StationaryNoise",
    "rawboost",
]

NYQUIST = SAMPLE_RATE / 2
#: no edge of a band comes closer than this to 0 Hz and to the Nyquist frequency, in Hz
EDGE = 0.001
#: a filter's highest gain is sought at this many frequencies, from 0 Hz to below the Nyquist frequency
GRID = 512


@dataclass(frozen=True)
class RawBoostConfig:
    """The knobs of the paper, at its values; ranges are the least and the most of a uniform draw."""

    name = "rawboost"
    algorithm: int = 5  # as the module lists them; 5 is the usual one for logical access
    bands: int = 5  # band-stops of a filter
    centre: tuple[float, float] = (20.0, 8000.0)  # of a band, Hz
    bandwidth: tuple[float, float] = (100.0, 1000.0)  # of a band, Hz
    taps: tuple[int, int] = (10, 100)  # of a band's FIR filter; even draws become odd
    gain: tuple[float, float] = (0.0, 0.0)  # of a filter where it lets most through, dB
    bias: tuple[float, float] = (5.0, 20.0)  # LnL: how far the powers from 2 on lie below the first, dB
    powers: int = 5  # LnL: the signal to the power of 1, 2, ... this
    touched: float = 10.0  # ISD: most samples changed, percent
    impulse_gain: float = 2.0  # ISD: a sample changes by at most this times itself
    snr: tuple[float, float] = (10.0, 40.0)  # SSI: signal-to-noise ratio, dB

    def __post_init__(self):
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of 0 to {max(ALGORITHMS)}, not {self.algorithm}")
        check_range(self, "centre", 0, NYQUIST)  # Hz
        check_range(self, "bandwidth", 1, NYQUIST)  # a narrower band would be empty
        check_range(self, "taps", 2)  # a shorter filter would stop nothing
        for knob in ("gain", "bias", "snr"):
            check_range(self, knob)
        for knob in ("bands", "powers"):
            if getattr(self, knob) < 1:
                raise ValueError(f"{knob} must be positive")
        if not 0 <= self.touched <= 100:
            raise ValueError("touched is a percentage, 0 to 100")
        if not 0 <= self.impulse_gain < math.inf:
            raise ValueError("impulse_gain must not be negative")


def rawboost(config: RawBoostConfig, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the noises of ``config.algorithm`` on a whole utterance, before it is cropped or repeated.

    Args:
        samples: 16 kHz, full scale at 1, shape (samples,), of any length; left as it is.
        rng: all that is random comes from it.

    Returns:
        float32, a new array of the same shape, in time with the input. Finite; silence stays silence;
        peaks beyond full scale scale the whole utterance down to it. The published code does the
        latter after every noise but the stationary one, whose result may there exceed full scale.
    """
    samples = np.array(samples, dtype=np.float32)
    if not samples.any():
        return samples
    noises = [kind.draw(config, len(samples), rng) for kind in ALGORITHMS[config.algorithm]]
    if config.algorithm == 8:
        return below_full_scale(sum(noise(samples) for noise in noises))
    for noise in noises:
        samples = noise(samples)
    return samples


class Notches(NamedTuple):
    """Random filters, each a cascade of band-stops that are Hamming-windowed FIR filters."""

    centre: np.ndarray  # Hz, shape (filters, bands)
    width: np.ndarray  # Hz, shape (filters, bands)
    taps: np.ndarray  # odd integers, shape (filters, bands)
    gain: np.ndarray  # highest gain of the cascade, dB, shape (filters,)

    @classmethod
    def draw(cls, config: RawBoostConfig, filters: int, rng) -> "Notches":
        """Draw that many filters, the gain of all but the first lowered by the bias.

        The ends of the ranges are subtracted one by one, as published: with the usual gain of 0 dB
        the lowered ones lie anywhere between minus the least and minus the greatest bias.
        """
        shape = (filters, config.bands)
        centre, width = (rng.uniform(*ends, shape) for ends in (config.centre, config.bandwidth))
        taps = rng.uniform(*config.taps, shape).astype(int) | 1  # the next odd number
        least, most = (np.full(filters, end, dtype=float) for end in config.gain)
        least[1:] -= config.bias[0]
        most[1:] -= config.bias[1]
        return cls(centre, width, taps, least + (most - least) * rng.random(filters))

    @property
    def reach(self) -> int:
        """How many samples to either side the longest cascade hears."""
        return int((self.taps - 1).sum(axis=1).max()) // 2

    def response(self, size: int) -> np.ndarray:
        """Zero-phase frequency responses at the points of a real FFT, shape (filters, size // 2 + 1).

        Args:
            size: of the FFT, a multiple of 1024.
        """
        lag = np.arange(self.taps.max() // 2 + 1)  # a filter is symmetric: one half says all
        taps = self.taps[..., None]
        low = np.maximum(self.centre - self.width / 2, EDGE)[..., None] / NYQUIST
        high = np.minimum(self.centre + self.width / 2, NYQUIST - EDGE)[..., None] / NYQUIST
        ideal = np.sinc(lag) - high * np.sinc(high * lag) + low * np.sinc(low * lag)
        hamming = np.where(lag <= taps // 2, 0.54 + 0.46 * np.cos(2 * np.pi * lag / (taps - 1)), 0)
        # The transform of a symmetric sequence, given its one half, is its DCT of type 1.
        cascade = scipy.fft.dct(ideal * hamming, type=1, n=size // 2 + 1, axis=-1).prod(axis=1)
        highest = np.abs(cascade[:, : -1 : size // (2 * GRID)]).max(axis=1)
        # Published filters pass 0 Hz with a positive sign, even within a notch; beyond it, what an odd
        # number of such notches lets through is upside down.
        scale = 10 ** (self.gain / 20) * np.copysign(1, cascade[:, 0]) / highest
        return cascade * scale[:, None]

    def filter(self, signals: list[np.ndarray]) -> np.ndarray:
        """Send each signal, shape (samples,), through its filter; returns their sum, same shape.

        Block by block (overlap-save): what is summed in the frequency domain is transformed back once.
        """
        count, reach = len(signals[0]), self.reach
        size = max(2 * GRID, 1 << (8 * reach - 1).bit_length())  # short blocks stay in the cache
        hop = size - 2 * reach
        padded = np.zeros(-(-count // hop) * hop + 2 * reach, np.float32)
        blocks = sliding_window_view(padded, size)[::hop]
        spectrum = 0
        for signal, response in zip(signals, self.response(size).astype(np.float32), strict=True):
            padded[reach : reach + count] = signal
            spectrum = spectrum + scipy.fft.rfft(blocks) * response
        return scipy.fft.irfft(spectrum, size)[:, reach : reach + hop].reshape(-1)[:count]


class ConvolutiveNoise(NamedTuple):
    """LnL: the sum of the filtered powers of the signal, without its mean."""

    notches: Notches  # one filter for each power

    @classmethod
    def draw(cls, config: RawBoostConfig, samples: int, rng) -> "ConvolutiveNoise":
        return cls(Notches.draw(config, config.powers, rng))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        powers = [samples]
        while len(powers) < len(self.notches.gain):
            powers.append(powers[-1] * samples)
        made = self.notches.filter(powers)
        return below_full_scale(made - made.mean())


class ImpulsiveNoise(NamedTuple):
    """ISD: chosen samples x become x + gain * factor * x, the factors products of two uniform draws."""

    positions: np.ndarray  # no two alike, shape (touched samples,)
    factors: np.ndarray  # in (-1, 1), same shape
    gain: float

    @classmethod
    def draw(cls, config: RawBoostConfig, samples: int, rng) -> "ImpulsiveNoise":
        touched = int(samples * rng.uniform(0, config.touched) / 100)
        positions = rng.choice(samples, touched, replace=False, shuffle=False)
        return cls(positions, rng.uniform(-1, 1, (2, touched)).prod(axis=0), config.impulse_gain)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        made = samples.copy()
        made[self.positions] *= 1 + self.gain * self.factors
        return below_full_scale(made)


class StationaryNoise(NamedTuple):
    """SSI: filtered white noise at a signal-to-noise ratio. Silence, which has none, stays silence."""

    white: np.ndarray  # shape (samples,)
    notches: Notches  # one filter
    snr: float  # dB

    @classmethod
    def draw(cls, config: RawBoostConfig, samples: int, rng) -> "StationaryNoise":
        white = rng.standard_normal(samples, dtype=np.float32)
        return cls(white, Notches.draw(config, 1, rng), rng.uniform(*config.snr))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return below_full_scale(add_noise(samples, self.notches.filter([self.white]), self.snr))


#: algorithm -> its noises, in their order
ALGORITHMS = {
    0: (),
    1: (ConvolutiveNoise,),
    2: (ImpulsiveNoise,),
    3: (StationaryNoise,),
    4: (ConvolutiveNoise, ImpulsiveNoise, StationaryNoise),
    5: (ConvolutiveNoise, ImpulsiveNoise),
    6: (ConvolutiveNoise, StationaryNoise),
    7: (ImpulsiveNoise, StationaryNoise),
    8: (ConvolutiveNoise, ImpulsiveNoise),
}
