"""Noise, reverberation, codec models and gain as augmentations.

Whether it was spoken or synthesised does not change by any of them. Playing it faster or slower, or at
another pitch, is left out on purpose: that leaves the traces of a vocoder on bona fide speech.

Every augmentation is a configuration, whose ranges are the least and the most of a uniform draw, and a
function ``(config, samples, rng) -> samples`` for 16 kHz speech that is not silent, full scale at 1,
shape (samples,); the result has the same shape, is in time with the input, and may exceed full scale.
:func:`asvtk.augment.waveform.augment` takes care of silence and of full scale.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

from asvtk.augment.levels import add_noise, check_range
from asvtk.io.audio import SAMPLE_RATE

__all__ = [
    "CodecConfig",
    "ColouredNoiseConfig",
    "GainConfig",
    "ReverberationConfig",
    "codec",
    "coloured_noise",
    "gain",
    "reverberation",
]

NYQUIST = SAMPLE_RATE / 2


@dataclass(frozen=True)
class ColouredNoiseConfig:
    name = "coloured_noise"
    snr: tuple[float, float] = (5.0, 30.0)  # signal-to-noise ratio, dB
    exponent: tuple[float, float] = (0.0, 2.0)  # 0: white, 1: pink, 2: brown, negative: blue

    def __post_init__(self):
        check_range(self, "snr")
        check_range(self, "exponent", -4, 4)


def coloured_noise(config: ColouredNoiseConfig, samples, rng):
    """Add Gaussian noise whose power goes with 1 / frequency ** exponent, from 20 Hz upwards."""
    size = scipy.fft.next_fast_len(len(samples), real=True)
    frequency = np.maximum(scipy.fft.rfftfreq(size, 1 / SAMPLE_RATE), 20) / 1000
    real, imaginary = rng.standard_normal((2, len(frequency)), dtype=np.float32)
    spectrum = (real + 1j * imaginary) * frequency ** (-rng.uniform(*config.exponent) / 2)
    return add_noise(samples, scipy.fft.irfft(spectrum, size)[: len(samples)], rng.uniform(*config.snr))


@dataclass(frozen=True)
class ReverberationConfig:
    name = "reverberation"
    rt60: tuple[float, float] = (0.1, 0.8)  # seconds in which the sound in the room falls by 60 dB
    direct_to_reverberant: tuple[float, float] = (0.0, 20.0)  # energy ratio, dB

    def __post_init__(self):
        check_range(self, "rt60", 0.02, 10)
        check_range(self, "direct_to_reverberant")


def reverberation(config: ReverberationConfig, samples, rng):
    """Convolve with a made-up room: the direct sound, after it exponentially decaying Gaussian noise.

    This is Polack's statistical model of a diffuse field (1988); the noise starts after 2.5 ms, up to
    which the sound of a measured room counts as direct. What rings on past the end is cut off.
    """
    return scipy.signal.fftconvolve(samples, room(config, rng))[: len(samples)]


def room(config: ReverberationConfig, rng) -> np.ndarray:
    """Draw an impulse response: 1 for the direct sound, then the tail, as long as the RT60."""
    rt60 = rng.uniform(*config.rt60)
    seconds = np.arange(int(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(len(seconds)) * 10 ** (-3 * seconds / rt60)
    response[seconds < 0.0025] = 0
    response *= 10 ** (-rng.uniform(*config.direct_to_reverberant) / 20) / np.linalg.norm(response)
    response[0] = 1
    return response.astype(np.float32)


@dataclass(frozen=True)
class CodecConfig:
    name = "codec"
    kinds: tuple[str, ...] = ("mu_law", "telephone", "transform")  # one of these, picked anew each time
    coarseness: tuple[float, float] = (0.5, 2.0)  # transform: steps of a band relative to its RMS
    bandwidth: tuple[float, float] = (4000.0, 8000.0)  # transform: nothing above is sent, Hz

    def __post_init__(self):
        unknown = [kind for kind in self.kinds if kind not in CODECS]
        if unknown or not self.kinds:
            raise ValueError(f"kinds must be some of {', '.join(CODECS)}, not {', '.join(unknown) or 'none'}")
        check_range(self, "coarseness", 0, 100)
        check_range(self, "bandwidth", 100, NYQUIST)


def codec(config: CodecConfig, samples, rng):
    """Send through something like a codec: it loses what its kind loses, without a codec's bit stream."""
    return CODECS[rng.choice(config.kinds)](config, samples, rng)


def mu_law(config: CodecConfig, samples, rng):
    """Companded to 8 bits by ITU-T G.711's continuous mu-law curve, and expanded again."""
    bent = np.log1p(255 * np.abs(samples).clip(max=1)) / np.log(256)
    return np.sign(samples) * np.expm1(np.rint(127 * bent) / 127 * np.log(256)) / 255


def telephone(config: CodecConfig, samples, rng):
    """Narrow-band telephony: 8 kHz, 300 to 3400 Hz, 8-bit mu-law."""
    band = scipy.signal.butter(4, (300, 3400), "bandpass", fs=SAMPLE_RATE // 2, output="sos")
    line = scipy.signal.sosfilt(band, scipy.signal.resample_poly(samples, 1, 2))
    return scipy.signal.resample_poly(mu_law(config, line, rng), 2, 1)[: len(samples)]


def transform(config: CodecConfig, samples, rng):
    """Like MP3 or AAC at low rates: MDCT coefficients, rounded to steps that follow each band's level.

    Steps near a band's RMS round most of it to zero: holes in the spectrum, noise in the shape of the
    speech and spread over a frame, before its onset too, and no treble; without a psychoacoustic model.
    """
    coefficients = mdct(samples)
    energy = np.add.reduceat(np.square(coefficients), TRANSFORM_BANDS[:-1], axis=1)
    widths = np.diff(TRANSFORM_BANDS)
    step = np.repeat(np.sqrt(energy / widths), widths, axis=1) * rng.uniform(*config.coarseness)
    step = np.maximum(step, 1e-12)  # silence has no level
    coefficients = step * np.rint(coefficients / step)
    coefficients[:, int(rng.uniform(*config.bandwidth) / NYQUIST * FRAME) :] = 0
    return inverse_mdct(coefficients)[: len(samples)]


FRAME = 512  # coefficients of a frame: 32 ms
#: first coefficient of each band, and the end of the last; about as wide as critical bands are
TRANSFORM_BANDS = np.r_[0:32:4, 32:64:8, 64:128:16, 128:256:32, 256:513:64]
WINDOW = np.sin(np.pi * (np.arange(2 * FRAME) + 0.5) / (2 * FRAME))


def mdct(samples):
    """Modified discrete cosine transform with the sine window, shape (frames, FRAME)."""
    padded = np.pad(samples, (FRAME, FRAME + -len(samples) % FRAME))
    frames = sliding_window_view(padded, 2 * FRAME)[::FRAME] * WINDOW
    a, b, c, d = np.split(frames, 4, axis=1)
    return scipy.fft.dct(np.hstack([-c[:, ::-1] - d, a - b[:, ::-1]]), type=4, norm="ortho")


def inverse_mdct(coefficients):
    """Overlap-add in which the aliases of neighbouring frames cancel; a multiple of FRAME samples."""
    one, other = np.split(scipy.fft.dct(coefficients, type=4, norm="ortho"), 2, axis=1)
    frames = np.hstack([other, -other[:, ::-1], -one[:, ::-1], -one]) * WINDOW
    return (frames[:-1, FRAME:] + frames[1:, :FRAME]).reshape(-1)


CODECS = {"mu_law": mu_law, "telephone": telephone, "transform": transform}


@dataclass(frozen=True)
class GainConfig:
    name = "gain"
    gain: tuple[float, float] = (-20.0, 6.0)  # dB

    def __post_init__(self):
        check_range(self, "gain", -100, 100)


def gain(config: GainConfig, samples, rng):
    """Louder or softer as a whole."""
    return samples * 10 ** (rng.uniform(*config.gain) / 20)
