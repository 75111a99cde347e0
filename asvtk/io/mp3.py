"""Encoding speech as MP3, piece by piece: what every browser plays, in a few megabytes an hour."""

from typing import BinaryIO

import numpy as np

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError

__all__ = ["BIT_RATES", "Mp3Writer"]

#: bits per second of MPEG-2 layer III at 16 kHz that are good for speech, best first
BIT_RATES = (64_000, 40_000, 24_000)
_PIECE = 1 << 16  # samples handed to FFmpeg at once


class Mp3Writer:
    """Encoder of 16 kHz mono at a constant bit rate, so that players find any second without an index.

    Args:
        file: open for writing and seeking: the header, which says how much silence the encoder has put before
            the first sample, is written at the end.
        bit_rate: one of `BIT_RATES`.

    Raises:
        AsvtkError: this FFmpeg cannot encode MP3.
    """

    def __init__(self, file: BinaryIO, bit_rate: int):
        try:
            import av

            self._container = av.open(file, "w", format="mp3")
            # Without bits borrowed from frames before: the first one after a seek is whole then.
            self._stream = self._container.add_stream(
                "libmp3lame", rate=SAMPLE_RATE, layout="mono", options={"reservoir": "0"}
            )
        except (ImportError, ValueError) as error:  # PyAV's faults of unknown formats are ValueErrors
            raise AsvtkError(f"MP3 cannot be encoded here ({error})") from None
        self._stream.bit_rate = bit_rate
        self._count = 0

    def push(self, samples: np.ndarray) -> None:
        """Encode what comes next: float32, full scale at 1, (samples,)."""
        import av

        for begin in range(0, len(samples), _PIECE):
            piece = np.ascontiguousarray(samples[begin : begin + _PIECE], np.float32)
            frame = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, self._count
            self._count += len(piece)
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode the rest and write the header; the file stays open."""
        if self._count:
            self._container.mux(self._stream.encode(None))
        self._container.close()
