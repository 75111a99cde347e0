"""What decoders of sound files have in common."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["CutOff", "Refused", "Sound"]


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
