"""Our own FLAC decoder against libsndfile, and on frames that no other decoder reads right."""

import hashlib
import io
import time

import numpy as np
import pytest
import soundfile

from asvtk.io import flac
from asvtk.io.sound import Refused


def content(kind: str, size: int, channels: int) -> np.ndarray:
    """int32 samples that use all 32 bits."""
    rng = np.random.default_rng(size)
    noise = rng.integers(-(2**31), 2**31, (size, channels), dtype=np.int64)
    made = {
        "noise": noise,
        "walk": np.clip(np.cumsum(noise // 500, axis=0), -(2**31), 2**31 - 1),
        "constant": noise * 0 + noise[:1],
        "tone": (2**31 * 0.99 * np.sin(np.arange(size) / 20)[:, None] * np.ones(channels)).astype(np.int64),
        "alike": noise[:, :1] // 3 + noise // 1000,
        "wasted bits": noise >> 29 << 29,
    }
    return made[kind].astype(np.int32)


@pytest.mark.parametrize("kind", ["noise", "walk", "constant", "tone", "alike", "wasted bits"])
@pytest.mark.parametrize("subtype, bits", [("PCM_S8", 8), ("PCM_16", 16), ("PCM_24", 24)])
def test_samples_are_those_of_libsndfile(kind, subtype, bits):
    for channels, size, level in [
        (1, 1, 1.0),
        (1, 9001, 1.0),
        (2, 4097, 1.0),
        (2, 9001, 0.0),
        (8, 5000, 0.5),
    ]:
        file = io.BytesIO()
        soundfile.write(
            file,
            content(kind, size, channels),
            44100,
            format="FLAC",
            subtype=subtype,
            compression_level=float(level),
        )
        samples, info = flac.decode(file.getvalue())
        file.seek(0)
        expected, _ = soundfile.read(file, dtype="int32", always_2d=True)
        np.testing.assert_array_equal(samples, expected >> (32 - bits))
        assert (info.rate, info.channels, info.bits, info.samples) == (44100, channels, bits, size)


class Writer:
    """Bits, from the highest of each byte."""

    def __init__(self):
        self.bits = ""

    def put(self, number: int, width: int) -> "Writer":
        self.bits += format(number & (1 << width) - 1, f"0{width}b") if width else ""
        return self

    def rice(self, number: int, parameter: int) -> "Writer":
        folded = number * 2 if number >= 0 else -2 * number - 1
        self.bits += "0" * (folded >> parameter) + "1"
        return self.put(folded, parameter)

    def bytes(self) -> bytes:
        padded = self.bits + "0" * (-len(self.bits) % 8)
        return int(padded, 2).to_bytes(len(padded) // 8, "big")


def remainder(data: bytes, polynomial: int, width: int) -> int:
    """A checksum as the RFC defines it: long division."""
    rest = 0
    for bit in "".join(f"{octet:08b}" for octet in data) + "0" * width:
        rest = rest << 1 | int(bit)
        rest ^= (rest >> width) * (1 << width | polynomial)
    return rest


def frame(subframe: Writer, block: int, number: int = 0, bits: int = 4) -> bytes:
    head = Writer().put(0xFFF8, 16).put(7, 4).put(0, 4).put(0, 4).put(bits, 3).put(0, 1).put(number, 8)
    head.put(block - 1, 16).put(remainder(head.bytes(), 0x07, 8), 8)
    head.bits += subframe.bits
    return head.bytes() + remainder(head.bytes(), 0x8005, 16).to_bytes(2, "big")


def file_of(frames: list[bytes], samples: int, md5: bytes, bits: int = 16) -> bytes:
    info = Writer().put(16, 16).put(65535, 16).put(0, 48)
    info.put(16000, 20).put(0, 3).put(bits - 1, 5).put(samples, 36)
    return b"fLaC\x80\0\0\x22" + info.bytes() + md5 + b"".join(frames)


def linear(values: list[int], wrap: bool) -> Writer:
    """A subframe of linear prediction by an encoder that goes on from wrapped values, or not."""
    writer = Writer().put(0, 1).put(32 + 1, 6).put(0, 1)
    seen = [(v + 32768) % 65536 - 32768 if wrap else v for v in values]
    for value in values[:2]:
        writer.put(value, 16)
    writer.put(5, 4).put(3, 5).put(13, 6).put(-6, 6).put(0, 2).put(0, 4).put(9, 4)
    for index in range(2, len(values)):
        predicted = (13 * seen[index - 1] - 6 * seen[index - 2]) >> 3
        writer.rice(values[index] - predicted, 9)
    return writer


VALUES = (np.cumsum(np.random.default_rng(5).normal(size=99) * 900).astype(int) % 60000 - 30000).tolist()
VALUES[40] = 32768


@pytest.mark.parametrize("wrap", [True, False])
def test_fault_11_a_sample_of_plus_32768_is_decoded_as_its_md5_says(wrap):
    wrapped = np.array([(v + 32768) % 65536 - 32768 for v in VALUES], "<i2")
    data = [frame(linear(VALUES, wrap), len(VALUES))]
    found, _ = flac.decode(file_of(data, 99, hashlib.md5(wrapped.tobytes()).digest()))
    np.testing.assert_array_equal(found[:, 0], wrapped)
    with pytest.raises(Refused, match="leave the range of 16 bits, and no MD5 tells"):
        flac.decode(file_of(data, 99, bytes(16)))
    with pytest.raises(Refused, match="the MD5 in the header differs"):
        flac.decode(file_of(data, 99, bytes(15) + b"?"))


def test_all_kinds_of_subframes_of_32_bits_and_other_block_sizes():
    constant = Writer().put(0, 8).put(-(2**31), 32)
    escaped = Writer().put(0b00010010, 8).put(2**31 - 1, 32).put(1, 2).put(0, 4).put(31, 5).put(3, 5)
    for difference in (-4, 3, 0):
        escaped.put(difference, 3)
    verbatim = Writer().put(0b00000011, 8).put(0b01, 2)  # two bits of each are wasted
    verbatim.put(-5, 30)
    frames = [
        frame(s, b, n, bits=7) for n, (s, b) in enumerate([(constant, 65535), (escaped, 4), (verbatim, 1)])
    ]
    frames[2] = frame(Writer().put(0b00000011, 8).put(0b01, 2).put(-5, 30), 1, 2, bits=7)
    found, _ = flac.decode(file_of(frames, 0, bytes(16), bits=32))
    top = 2**31 - 1
    assert found[:65535].tolist() == [[-(2**31)]] * 65535
    assert found[65535:, 0].tolist() == [top, top - 4, top - 1, top - 1, -20]


BOMBS = {
    "claims 2**36 samples": lambda: file_of([], 2**36 - 1, bytes(16)),
    "blocks of constants": lambda: file_of(
        [frame(Writer().put(0, 8).put(0, 16), 65535, n) for n in range(128)] * 2, 0, bytes(16)
    ),
    "endless zeros": lambda: file_of(
        [frame(Writer().put(0b00010000, 8).put(0, 2).put(0, 4).put(14, 4), 65535)[:-2], bytes(10**7)],
        0,
        bytes(16),
    ),
    "nothing but sync codes": lambda: file_of([b"\xff\xf8" * 10**6], 0, bytes(16)),
    "headers without frames": lambda: file_of([frame(Writer(), 65535)[:-2] * 10**5], 0, bytes(16)),
    "noise": lambda: file_of([np.random.default_rng(0).bytes(10**6)], 1000, bytes(16)),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_fault_17_no_file_takes_time_or_memory_without_end(make):
    data, begin = make(), time.monotonic()
    with pytest.raises(Refused):
        flac.decode(data)
    assert time.monotonic() - begin < 8


def test_every_cut_and_every_turned_bit_is_refused():
    file = io.BytesIO()
    soundfile.write(file, np.cumsum(np.random.default_rng(0).normal(size=6000)) / 300, 16000, format="FLAC")
    data = file.getvalue()
    rng = np.random.default_rng(1)
    for place in rng.integers(4, len(data), 40).tolist():
        with pytest.raises(Refused):
            flac.decode(data[:place])
        if place >= 42:  # of the header only the length and the MD5 say something of the samples
            with pytest.raises(Refused):
                flac.decode(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
