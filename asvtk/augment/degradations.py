"""Named degradations of speech, for judging: ``mp3:32k``, ``noise:10``, ``reverb:0.6``, ``replay:poor``.

Each is one change at one strength: float (samples,) at 16 kHz, full scale at 1 -> the same shape (trim's is
shorter), in time with the input, with a peak of at most 1. All that is random in it comes from the generator
that it is given; silence stays silence, but for what a codec makes of it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from asvtk.augment.codecs import CODECS, code, require_codec
from asvtk.augment.distortions import ColouredNoiseConfig, coloured_noise
from asvtk.augment.levels import below_full_scale
from asvtk.augment.rooms import reverberate
from asvtk.corpora.shortcuts import sounding
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError, listing, shown
from asvtk.io.text import parse_float

__all__ = [
    "DEGRADATIONS",
    "Degradation",
    "level",
    "lowpass",
    "noise",
    "parse_degradation",
    "replay",
    "resample",
    "telephone",
    "trim",
]


def level(samples: np.ndarray, dbfs: float = -30.0) -> np.ndarray:
    """The same RMS for every clip, in dB below full scale; lower where peaks would pass full scale."""
    rms = np.sqrt(np.square(samples, dtype=np.float64).mean())
    return below_full_scale(samples * (10 ** (dbfs / 20) / rms)) if rms > 0 else samples


def trim(samples: np.ndarray, below: float = 40.0, frame: float = 0.02) -> np.ndarray:
    """Without the silence before and behind: frames (in s) so many dB below the loudest one.

    Pauses inside stay, and so does what is silent all through.
    """
    return samples[sounding(samples, below, round(frame * SAMPLE_RATE))]


def lowpass(samples: np.ndarray, edge: float = 7000.0) -> np.ndarray:
    """Nothing above ``edge`` Hz, and that in time with the input.

    A linear-phase filter of 255 taps, which is less than 0.1 dB down up to 120 Hz below the edge and 80 dB
    from 160 Hz above it.
    """
    taps = scipy.signal.firwin(255, edge, window=("kaiser", 8.0), fs=SAMPLE_RATE)
    return below_full_scale(_filtered(samples, taps))


def telephone(samples: np.ndarray) -> np.ndarray:
    """The band of a telephone line, 300 to 3400 Hz, sampled at 8 kHz; no codec.

    A linear-phase filter of 255 taps, 6 dB down at the edges and 50 dB from 60 Hz beyond them.
    """
    band = scipy.signal.firwin(255, (300, 3400), window=("kaiser", 5.0), fs=8000, pass_zero=False)
    line = _filtered(scipy.signal.resample_poly(samples, 1, 2), band)
    return scipy.signal.resample_poly(line, 2, 1)[: len(samples)]


def resample(samples: np.ndarray, rate: float) -> np.ndarray:
    """A resampling history: to another rate (Hz) and back, by the polyphase filter of ``asvtk detect``."""
    there = scipy.signal.resample_poly(samples, int(rate), SAMPLE_RATE)
    return scipy.signal.resample_poly(there, SAMPLE_RATE, int(rate))[: len(samples)]


def noise(samples: np.ndarray, snr: float, rng: np.random.Generator, exponent: float = 0.0) -> np.ndarray:
    """Stationary Gaussian noise, ``snr`` dB below the mean power of the clip, its pauses included.

    Its power goes with 1 / frequency ** exponent above 20 Hz; 0: white, 1: pink.
    """
    config = ColouredNoiseConfig(snr=(snr, snr), exponent=(exponent, exponent))
    return coloured_noise(config, samples, rng)


class _Replay(NamedTuple):
    band: tuple[float, float]  # Hz, of loudspeaker and microphone
    drive: float  # of the loudspeaker: at full scale its third harmonic lies near drive ** 2 / 12
    rt60: float  # s, of the room
    snr: float  # dB, to the noise of the room and the microphone


_REPLAYS = {
    "good": _Replay((80, 7600), 0.3, 0.2, 40),
    "fair": _Replay((150, 6500), 0.6, 0.4, 30),
    "poor": _Replay((400, 5000), 1.0, 0.6, 20),
}


def replay(samples: np.ndarray, quality: str, rng: np.random.Generator) -> np.ndarray:
    """Simulated replay: a loudspeaker's band and distortion, a room's response, noise; as loud as before.

    Not a replay: no device was measured, and its phase, resonances and directivity are missing.
    """
    of, peak = _REPLAYS[quality], np.abs(samples).max(initial=0)
    if peak == 0:
        return samples
    taps = scipy.signal.firwin(511, of.band, window=("kaiser", 5.0), fs=SAMPLE_RATE, pass_zero=False)
    played = peak * np.tanh(of.drive * _filtered(samples, taps) / peak) / of.drive
    heard = noise(reverberate(played, of.rt60, rng), of.snr, rng, exponent=1.0)
    energies = [np.square(x, dtype=np.float64).sum() for x in (samples, heard)]
    return heard * np.sqrt(energies[0] / energies[1]) if energies[1] > 0 else heard


def _filtered(samples: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """By a linear-phase filter of an odd number of taps, without its delay."""
    delay = len(taps) // 2
    return scipy.signal.oaconvolve(samples, taps, mode="full")[delay : delay + len(samples)]


class _Parameter(NamedTuple):
    read: Callable[[str | None], object]  # raises ValueError; None: nothing stands behind the name
    write: Callable[[object], str]  # as it stands in the name
    expected: str  # for messages, behind the name
    axis: str = ""  # what it is on a chart; empty: no quantity


class _Kind(NamedTuple):
    parameter: _Parameter
    change: Callable[..., np.ndarray]  # (samples, parameter, rng)
    plotted: float | None = None  # on the axis, of one that has no parameter
    random: bool = False  # whether the generator matters


class Degradation(NamedTuple):
    """One degradation at one strength; all of it can be pickled."""

    text: str  # its name as it is always written: noise:10 also for noise:10.0
    kind: str  # what stands before the colon
    value: object  # the parameter, None where it has none

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrade speech, (samples,) -> (samples,), see the module."""
        if not len(samples):
            raise AsvtkError(f"{self.text}: there are no samples")
        return below_full_scale(DEGRADATIONS[self.kind].change(samples, self.value, rng))

    @property
    def random(self) -> bool:
        """Whether it depends on the generator."""
        return DEGRADATIONS[self.kind].random

    @property
    def place(self) -> tuple[str, float] | None:
        """Title of the axis of a chart, and its value there; None for one that has no quantity."""
        kind = DEGRADATIONS[self.kind]
        value = self.value if kind.plotted is None else kind.plotted
        return (kind.parameter.axis, float(value)) if kind.parameter.axis else None

    def require(self) -> None:
        """Raise AsvtkError where it needs a codec that is not here."""
        if self.kind in CODECS:
            require_codec(self.kind)


def parse_degradation(text: str) -> Degradation:
    """The degradation that a name stands for.

    Raises:
        AsvtkError: there is none of this name, or not with such a parameter; lists the valid ones.
    """
    kind, colon, given = text.partition(":")
    if kind not in DEGRADATIONS:
        names = [f"{name}{of.parameter.expected}" for name, of in DEGRADATIONS.items()]
        raise AsvtkError(f"no degradation {shown(text)}; there are {listing(names, len(names))}")
    parameter = DEGRADATIONS[kind].parameter
    try:
        value = parameter.read(given if colon else None)
    except ValueError:
        raise AsvtkError(f"degradation {shown(text)}: expected {kind}{parameter.expected}") from None
    written = parameter.write(value)
    # A default that was not written out stays so: copies made by it keep their names.
    return Degradation(f"{kind}:{written}" if colon and written else kind, kind, value)


def _nothing(axis: str = "") -> _Parameter:
    def read(text):
        if text is not None:
            raise ValueError
        return None

    return _Parameter(read, lambda value: "", "", axis)


def _number(low: float, high: float, what: str, axis: str, default=None, whole=False) -> _Parameter:
    def read(text):
        value = default if text is None else parse_float(text)
        if value is None or not low <= value <= high or whole and value != int(value):
            raise ValueError
        return value

    expected = f":{what} ({low:g} to {high:g})"
    if default is not None:
        expected = f"[:{what}] ({low:g} to {high:g}; default {default:g})"
    return _Parameter(read, lambda value: f"{value:g}", expected, axis)


_BIT_RATE = "bit rate, kbit/s"


def _bit_rate(low: float, high: float, rates: tuple = ()) -> _Parameter:
    """kbit/s, written 32k; one of ``rates`` where the codec knows no others."""

    def read(text):
        if text is None or not text.endswith("k"):
            raise ValueError
        value = parse_float(text[:-1])
        if not low <= value <= high or rates and value not in rates:
            raise ValueError
        return value

    words = ", ".join(f"{rate:g}k" for rate in rates) or f"{low:g}k to {high:g}k"
    return _Parameter(read, lambda value: f"{value:g}k", f":RATE ({words})", _BIT_RATE)


def _word(words) -> _Parameter:
    def read(text):
        if text not in words:
            raise ValueError
        return text

    return _Parameter(read, str, f":{'|'.join(words)}")


def _coded(codec: str, parameter: _Parameter, bit_rate: float | None = None) -> _Kind:
    return _Kind(parameter, functools.partial(_code, codec), bit_rate)


def _code(codec: str, samples, setting, rng):
    return code(samples, codec, setting)


_MP3_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_AMR_RATES = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)
_SNR = _number(-20, 60, "DB of SNR", "SNR, dB")

#: what stands before the colon -> what it does
DEGRADATIONS = {
    "mp3": _coded("mp3", _bit_rate(8, 160, _MP3_RATES)),
    "aac": _coded("aac", _bit_rate(8, 96)),
    "opus": _coded("opus", _bit_rate(6, 128)),
    "vorbis": _coded("vorbis", _number(-1, 10, "QUALITY", "quality")),
    "g722": _coded("g722", _nothing(_BIT_RATE), 64.0),
    "amr": _coded("amr", _bit_rate(4.75, 12.2, _AMR_RATES)),
    "gsm": _coded("gsm", _nothing(_BIT_RATE), 13.0),
    "g726": _coded("g726", _bit_rate(24, 40, (24, 32, 40))),
    "alaw": _coded("alaw", _nothing(_BIT_RATE), 64.0),
    "ulaw": _coded("ulaw", _nothing(_BIT_RATE), 64.0),
    "telephone": _Kind(_nothing(), lambda samples, _, rng: telephone(samples)),
    "noise": _Kind(_SNR, noise, random=True),
    "pink": _Kind(_SNR, functools.partial(noise, exponent=1.0), random=True),
    "reverb": _Kind(_number(0.2, 2, "SECONDS of RT60", "RT60, s"), reverberate, random=True),
    "resample": _Kind(
        _number(4000, 96000, "HZ", "rate, Hz", whole=True), lambda samples, rate, _: resample(samples, rate)
    ),
    "lowpass": _Kind(
        _number(500, 7800, "HZ", "edge, Hz", 7000.0), lambda samples, edge, _: lowpass(samples, edge)
    ),
    "level": _Kind(
        _number(-60, -3, "DBFS", "level, dB", -30.0), lambda samples, dbfs, _: level(samples, dbfs)
    ),
    "trim": _Kind(_nothing(), lambda samples, _, rng: trim(samples)),
    "replay": _Kind(_word(tuple(_REPLAYS)), replay, random=True),
}
