"""Speech from the espeak-ng library in the PyPI package espeakng-loader: no sound card, no program run.

Voices are named ``LANGUAGE+VARIANT`` as on espeak-ng's command line, for example ``fr+f3``.
"""

import _ctypes
import ctypes
from pathlib import Path

import numpy as np

from asvtk.io.errors import AsvtkError

__all__ = ["speak"]

# Values of espeak-ng's speak_lib.h.
RETRIEVE_SYNCHRONOUSLY = 2
DO_NOT_EXIT = 0x8000
RATE, VOLUME, PITCH, PITCH_RANGE = 1, 2, 3, 4
POSITION_IS_CHARACTERS, TEXT_IS_UTF8 = 1, 1

#: per cent of espeak-ng's usual volume, at which many of its voices clip
QUIET = 40

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(text: str, voice: str, rate: int = 160, pitch: int = 50, pitch_range: int = 50, seed: int = 1):
    """Say ``text``.

    The same arguments always give the same samples. espeak-ng keeps oscillators running from one
    text to the next, even over its own Terminate, so each call loads the library anew (1 ms).

    Args:
        voice: a language, ``+``, a variant.
        rate: words per minute, 80 to 450.
        pitch, pitch_range: 0 to 99, where 50 is the voice's own.
        seed: of espeak-ng's noises.

    Returns:
        audio: float64 (samples,), full scale at 1.
        sample_rate: the voice's own, in Hz.

    Raises:
        AsvtkError: espeakng-loader is not installed, or espeak-ng does not have the voice.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise AsvtkError(f'{error}: install espeak-ng with pip install "asvtk[mini]"') from error
    data = espeakng_loader.get_data_path()
    variant = voice.partition("+")[2]
    if variant and not Path(data, "voices", "!v", variant).is_file():  # espeak-ng would say nothing
        raise AsvtkError(f"espeak-ng has no variant {variant!r} (voice {voice!r})")
    pieces = []

    def collect(samples, count, _events):
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        sample_rate = library.espeak_Initialize(RETRIEVE_SYNCHRONOUSLY, 0, data.encode(), DO_NOT_EXIT)
        if sample_rate <= 0:
            raise AsvtkError(
                f"espeak-ng does not start with its data in {data}; install espeakng-loader again"
            )
        callback = Callback(collect)  # kept in a variable: ctypes does not keep it alive
        library.espeak_SetSynthCallback(callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        ctypes.CDLL(None).srand(seed)  # two of its variants use the C library's generator instead
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise AsvtkError(f"espeak-ng has no voice {voice!r}")
        settings = ((RATE, rate), (VOLUME, QUIET), (PITCH, pitch), (PITCH_RANGE, pitch_range))
        for parameter, value in settings:
            library.espeak_SetParameter(parameter, int(value), 0)
        message = text.encode() + b"\0"
        library.espeak_Synth(
            message, ctypes.c_size_t(len(message)), 0, POSITION_IS_CHARACTERS, 0, TEXT_IS_UTF8, None, None
        )
        library.espeak_Synchronize()
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)
    audio = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    return audio / 32768, sample_rate
