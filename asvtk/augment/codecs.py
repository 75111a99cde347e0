"""Codec round trips: speech coded and decoded by the codecs themselves, in time with what went in.

FFmpeg's codecs (package PyAV) and libsndfile's are used, whichever has a coder:

  mp3     MPEG-2 layer III, LAME            16 kHz
  aac     MPEG-4 AAC-LC                     16 kHz
  opus    RFC 6716, for voice               16 kHz
  vorbis  Vorbis I, by quality              16 kHz
  g722    ITU-T G.722, 64 kbit/s            16 kHz
  amr     AMR-NB, 3GPP TS 26.071             8 kHz
  gsm     GSM full rate, 06.10, 13 kbit/s    8 kHz
  g726    ITU-T G.726, ADPCM                 8 kHz
  alaw, ulaw    ITU-T G.711, 64 kbit/s       8 kHz

There is no coder of AMR-WB, EVS, Speex or iLBC in these libraries.
"""

import io
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import scipy
import soundfile

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError, listing

__all__ = ["CODECS", "code", "require_codec"]


class _Ffmpeg(NamedTuple):
    encoder: str
    decoder: str
    rate: int  # Hz, of what is coded
    format: str  # of its samples
    delay: int = 0  # samples at that rate by which what is decoded comes later, and FFmpeg does not cut off
    options: tuple = ()


class _Libsndfile(NamedTuple):
    format: str
    subtypes: dict  # kbit/s or quality -> subtype; None: any other
    rate: int


#: name -> who codes it. The delays were measured, and tests measure them again.
CODECS = {
    "mp3": _Ffmpeg("libmp3lame", "mp3float", SAMPLE_RATE, "fltp"),
    "aac": _Ffmpeg("aac", "aac", SAMPLE_RATE, "fltp", 1024),
    "opus": _Ffmpeg("libopus", "libopus", SAMPLE_RATE, "flt", 0, (("application", "voip"),)),
    "vorbis": _Libsndfile("OGG", {None: "VORBIS"}, SAMPLE_RATE),
    "g722": _Ffmpeg("g722", "g722", SAMPLE_RATE, "s16", 22),
    "amr": _Ffmpeg("libopencore_amrnb", "libopencore_amrnb", 8000, "s16", 40),
    "gsm": _Libsndfile("WAV", {None: "GSM610"}, 8000),
    "g726": _Libsndfile("AU", {24: "G723_24", 32: "G721_32", 40: "G723_40"}, 8000),
    "alaw": _Libsndfile("AU", {None: "ALAW"}, 8000),
    "ulaw": _Libsndfile("AU", {None: "ULAW"}, 8000),
}
_BITS = 32768  # full scale of 16 bit


def require_codec(name: str) -> None:
    """Raise AsvtkError unless the libraries here have the codec; it says which they have."""
    if not _is_here(CODECS[name]):
        here = [other for other, codec in CODECS.items() if _is_here(codec)]
        raise AsvtkError(
            f"{name}: neither PyAV's FFmpeg nor the libsndfile here can code it; they have {listing(here)}"
        )


def code(samples: np.ndarray, name: str, setting: float | None = None) -> np.ndarray:
    """Code speech and decode it again.

    Args:
        samples: 16 kHz, full scale at 1, (samples,), of any length. Codecs of 8 kHz get it resampled.
        name: of ``CODECS``.
        setting: kbit/s; of vorbis the quality, -1 to 10, as oggenc has it; None for codecs of one bit rate.

    Returns:
        float64 (samples,), which may pass full scale; above 500 Hz within two samples in time with the input.
        AMR and Opus for voice take off what lies below speech, which shifts low frequencies by up to 0.5 ms.

    Raises:
        AsvtkError: the libraries here have no such codec, or it refuses the setting.
    """
    require_codec(name)
    codec = CODECS[name]
    narrow = samples if codec.rate == SAMPLE_RATE else scipy.signal.resample_poly(samples, 1, 2)
    narrow = np.clip(narrow, -1, 1 - 1 / _BITS)
    try:
        made = (_by_ffmpeg if isinstance(codec, _Ffmpeg) else _by_libsndfile)(narrow, codec, setting)
    except (soundfile.LibsndfileError, *_ffmpeg_errors()) as error:
        raise AsvtkError(f"{name} at {setting}: the codec refuses it: {error}") from None
    made = np.pad(made, (0, max(0, len(narrow) - len(made))))[: len(narrow)].astype(np.float64)
    return made if codec.rate == SAMPLE_RATE else scipy.signal.resample_poly(made, 2, 1)[: len(samples)]


def _is_here(codec) -> bool:
    if isinstance(codec, _Libsndfile):
        return all(soundfile.check_format(codec.format, subtype) for subtype in codec.subtypes.values())
    try:
        import av

        av.Codec(codec.encoder, "w"), av.Codec(codec.decoder, "r")
    except (ImportError, ValueError):  # av.codec.codec.UnknownCodecError is a ValueError
        return False
    return True


def _ffmpeg_errors() -> tuple:
    try:
        import av
    except ImportError:
        return ()
    return (av.FFmpegError,)


def _by_libsndfile(samples: np.ndarray, codec: _Libsndfile, setting: float | None) -> np.ndarray:
    more = {}
    if codec.format == "OGG":
        more["compression_level"] = (10 - setting) / 11  # 0: the best
    subtype = codec.subtypes.get(setting) or codec.subtypes[None]
    file = io.BytesIO()
    # Integers are made here: libsndfile lets floats that round to full scale wrap around.
    soundfile.write(file, _integers(samples), codec.rate, format=codec.format, subtype=subtype, **more)
    file.seek(0)
    return soundfile.read(file)[0]


def _by_ffmpeg(samples: np.ndarray, codec: _Ffmpeg, setting: float | None) -> np.ndarray:
    import av

    encoder = av.CodecContext.create(codec.encoder, "w")
    encoder.format, encoder.layout, encoder.sample_rate = codec.format, "mono", codec.rate
    encoder.time_base = Fraction(1, codec.rate)
    if setting is not None:
        encoder.bit_rate = round(1000 * setting)
    encoder.options = dict(codec.options)
    encoder.open()
    size = encoder.frame_size or 320
    # Behind the end so much silence that all that was put in comes out.
    padded = np.pad(samples, (0, 4 * size + codec.delay + -len(samples) % size))
    packets = []
    for begin in range(0, len(padded), size):
        piece = padded[begin : begin + size]
        piece = _integers(piece) if codec.format == "s16" else piece.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(piece[None], format=codec.format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = codec.rate, begin, encoder.time_base
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(codec.decoder, "r")
    decoder.layout, decoder.sample_rate = "mono", codec.rate
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    pieces = [frame.to_ndarray().reshape(-1) for frame in frames]
    made = np.concatenate([x / _BITS if x.dtype == np.int16 else x for x in pieces])
    if frames[0].sample_rate != codec.rate:  # Opus is always decoded at 48 kHz
        ratio = Fraction(codec.rate, frames[0].sample_rate)
        made = scipy.signal.resample_poly(made, ratio.numerator, ratio.denominator)
    return made[codec.delay :]


def _integers(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples * _BITS).clip(-_BITS, _BITS - 1).astype(np.int16)
