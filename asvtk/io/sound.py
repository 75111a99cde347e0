"""What decoders of sound files have in common."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["CutOff", "Refused", "Sound", "id3_size"]


class Refused(Exception):
    """This decoder cannot read the file, or not all of it; perhaps another can."""


class CutOff(Exception):
    """The file ends before its sound does; other decoders would only not notice."""


class Sound(NamedTuple):
    """An open sound file."""

    rate: int  # Hz
    channels: int
    coding: str  # for people
    integer: bool  # whether its samples are integers, of which nothing was lost
    length: int | None  # samples of a channel, as far as its header tells
    blocks: Iterator[np.ndarray]  # float32, full scale at 1, shape (samples, channels); may raise Refused
    doubt: str = ""  # why its end may be missing


def id3_size(head: bytes) -> int:
    """Bytes of the tag (ID3v2, section 3.1) that a file's first 10 bytes begin; 0: none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((octet & 127) << shift for octet, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
