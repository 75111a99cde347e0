"""Audio that front-ends can use, and what is said of audio that they cannot."""

import hashlib
import os
import sys

import numpy as np
import pytest
import soundfile

from asvtk.io import decoding
from asvtk.io.audio import decode_check, inspect_audio, read_audio, write_audio
from asvtk.io.errors import AsvtkError
from asvtk.io.sound import Refused

AUDIO = 0.1 * np.sin(np.arange(16000) / 10)


def test_flac_round_trip(tmp_path):
    soundfile.write(tmp_path / "a.flac", AUDIO, 16000, subtype="PCM_16")
    assert inspect_audio(tmp_path / "a.flac")[0] == 16000
    found = read_audio(tmp_path / "a.flac", 16000)
    assert found.dtype == np.float32 and found.shape == (16000,)
    np.testing.assert_allclose(found, AUDIO, atol=2**-15)


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda f: soundfile.write(f, AUDIO, 8000), "8000 Hz, expected 16000 Hz; convert"),
        (lambda f: soundfile.write(f, np.stack([AUDIO] * 2, 1), 16000), "2 channels, expected 1; convert"),
        (
            lambda f: soundfile.write(f, AUDIO, 16000, format="WAV", subtype="FLOAT"),
            "32 bit float, expected integer PCM; convert",
        ),
        (lambda f: soundfile.write(f, AUDIO[:0], 16000, format="WAV"), "holds no samples"),
        (lambda f: f.write_bytes(b""), r"empty \(0 bytes\)"),
        (lambda f: f.write_text("no audio at all, but words\n"), "is text, not a sound file"),
        (lambda f: f.write_text("<!doctype html>\n<p>404"), "is text, not a sound file"),
        (lambda f: f.write_bytes(bytes(range(256)) * 9), "is not a sound file, or of a kind that cannot"),
        (lambda f: f.mkdir(), "is a folder, expected a sound file"),
        (lambda f: os.mkfifo(f), "is a pipe or a device, expected a sound file"),
        (lambda f: None, "no such file"),
    ],
    ids=[
        "8 kHz",
        "stereo",
        "float",
        "no samples",
        "empty",
        "text",
        "page",
        "bytes",
        "folder",
        "pipe",
        "missing",
    ],
)
def test_unusable_audio_is_named_with_the_reason(tmp_path, write, message):
    path = tmp_path / "LA_T_1.flac"
    write(path)
    with pytest.raises(AsvtkError, match=rf"LA_T_1\.flac: .*{message}"):
        inspect_audio(path)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_flac_is_noticed_when_it_is_decoded(tmp_path, share):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(size=64000) * 0.1, 16000)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AsvtkError, match=r"a\.flac"):
        read_audio(path, inspect_audio(path)[0])


def test_checksum_is_that_of_the_samples_and_not_of_the_file(tmp_path):
    samples = (AUDIO * 2**15).astype(np.int16)
    for name, compression in (("a", 0.0), ("b", 1.0)):
        soundfile.write(tmp_path / f"{name}.flac", samples, 16000, compression_level=compression)
    soundfile.write(tmp_path / "c.flac", np.roll(samples, 1), 16000)
    soundfile.write(tmp_path / "d.wav", samples, 16000)
    a, b, c, d = (inspect_audio(tmp_path / name)[1] for name in ("a.flac", "b.flac", "c.flac", "d.wav"))
    assert (tmp_path / "a.flac").read_bytes() != (tmp_path / "b.flac").read_bytes()
    assert a == b == hashlib.md5(samples.tobytes()).hexdigest()
    assert len({a, c, d}) == 3


@pytest.mark.parametrize("first", [1, 4095, 4096, 4097, 30000, 40000, 50000])
@pytest.mark.parametrize("form", ["FLAC", "WAV"])
def test_head_is_the_beginning_of_the_whole(tmp_path, form, first):
    soundfile.write(tmp_path / "a", WALK, 16000, format=form, subtype="PCM_16")
    whole = read_audio(tmp_path / "a", 40000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a", 40000, first=first), whole[:first])


def test_head_of_a_file_of_another_length_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.flac", WALK, 16000)
    with pytest.raises(AsvtkError, match=r"a\.flac: 40000 samples could be decoded, 41000 were expected"):
        read_audio(tmp_path / "a.flac", 41000, first=1000)


def test_head_is_decoded_and_what_follows_is_not(tmp_path):
    content = write_flac(tmp_path / "a.flac")
    whole = read_audio(tmp_path / "a.flac")
    (tmp_path / "a.flac").write_bytes(content[: content.index(FRAME + b"\x05")])
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", 40000, first=10000), whole[:10000])
    with pytest.raises(AsvtkError, match=r"a\.flac"):
        read_audio(tmp_path / "a.flac", 40000, first=30000)


# What libsndfile refuses. WALK is 40,000 samples: ten frames of FLAC, of up to 4096 samples.
WALK = (np.cumsum(np.random.default_rng(0).normal(size=40000)) * 30).astype(np.int16)
FRAME = b"\xff\xf8\xc5\x08"  # 4096 samples, 16 kHz, one channel, 16 bits; the number of the frame follows
STREAMINFO_END = 42


def write_flac(path) -> bytes:
    soundfile.write(path, WALK, 16000, subtype="PCM_16")
    return path.read_bytes()


def header(content: bytes, samples: int = 40000, md5: bool = True) -> bytes:
    """A FLAC file with another number of samples in its header (0: unknown), or no MD5."""
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    return content[:18] + packed.to_bytes(8, "big") + (content[26:42] if md5 else bytes(16)) + content[42:]


def with_block(content: bytes, kind: int, block: bytes) -> bytes:
    """A FLAC file with one more metadata block."""
    return content[:42] + bytes([kind]) + len(block).to_bytes(3, "big") + block + content[42:]


def insert(content: bytes, frame: int, foreign: bytes) -> bytes:
    place = content.index(FRAME + bytes([frame]))
    return content[:place] + foreign + content[place:]


def without(content: bytes, frame: int) -> bytes:
    begin, end = (content.index(FRAME + bytes([number])) for number in (frame, frame + 1))
    return content[:begin] + content[end:]


def flip(content: bytes, frame: int) -> bytes:
    """Turn one bit amid a frame."""
    place = content.index(FRAME + bytes([frame])) + 1000
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


WHOLE = {
    "unknown length": lambda c: header(c, samples=0),
    "unknown length and MD5, as FFmpeg writes into a pipe": lambda c: header(c, samples=0, md5=False),
    "damaged seek table": lambda c: with_block(c, 3, b"\xff" * 19),
    "damaged tags": lambda c: with_block(c, 4, b"\xff" * 8),
    "damaged picture": lambda c: with_block(c, 6, b"\xff" * 8),
    "zeros between frames": lambda c: insert(c, 3, bytes(100)),
    "noise between frames": lambda c: insert(c, 3, np.random.default_rng(1).bytes(500)),
}


@pytest.mark.parametrize("change", WHOLE.values(), ids=WHOLE)
def test_whole_audio_that_libsndfile_refuses_is_decoded_all_the_same(tmp_path, change):
    path = tmp_path / "a.flac"
    content = write_flac(path)
    expected, (_, md5) = read_audio(path), inspect_audio(path)
    path.write_bytes(change(content))
    # Or this would test nothing. soundfile makes a MemoryError or ValueError of an unknown length.
    with pytest.raises((soundfile.LibsndfileError, ValueError, MemoryError)):
        soundfile.read(path)
    num_samples, checksum = inspect_audio(path)
    assert num_samples == 40000 and checksum == (md5 if any(change(content)[26:42]) else checksum)
    np.testing.assert_array_equal(read_audio(path, 40000), expected)
    np.testing.assert_array_equal(read_audio(path, 40000, first=7000), expected[:7000])
    with pytest.raises(AsvtkError, match="40000 samples could be decoded, 39999 were expected"):
        read_audio(path, 39999, first=7000)


HARMED = {
    "a bit turned": lambda c: flip(c, 3),
    "a bit turned, no MD5": lambda c: header(flip(c, 3), md5=False),
    "a bit turned, no length": lambda c: header(flip(c, 3), samples=0),
    "a bit turned, neither": lambda c: header(flip(c, 3), samples=0, md5=False),
    "the last frame harmed, neither": lambda c: header(c[:-9] + b"?" + c[-8:], samples=0, md5=False),
    "a frame lost, no length": lambda c: header(without(c, 3), samples=0),
    "a frame lost, neither": lambda c: header(without(c, 3), samples=0, md5=False),
    "cut amid a frame": lambda c: c[: len(c) // 2],
    "cut between frames": lambda c: c[: c.index(FRAME + b"\x05")],
    "cut between frames, no length": lambda c: header(c[: c.index(FRAME + b"\x05")], samples=0),
    "more promised than there is": lambda c: header(c, samples=41000),
    "no FLAC": lambda c: b"RIFF" + c[4:],
}


@pytest.mark.parametrize("change", HARMED.values(), ids=HARMED)
def test_audio_of_which_a_part_is_lost_is_refused(tmp_path, change):
    path = tmp_path / "a.flac"
    path.write_bytes(change(write_flac(path)))
    for promised in (40000, None):  # also where nobody knows how long it was
        with pytest.raises(AsvtkError, match=r"a\.flac: (cannot be decoded|is not a sound file)") as error:
            read_audio(path, promised)
        assert "\n" not in str(error.value)


def test_audio_that_libsndfile_reads_in_part_goes_to_the_next_decoder(tmp_path, monkeypatch):
    write_flac(tmp_path / "a.flac")
    whole = read_audio(tmp_path / "a.flac")
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, n, **named: read(self, n - 1, **named)[:-1])
    for first in (None, 50000, 5000):
        np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", 40000, first), whole[:first])


def test_wrong_md5_of_what_libsndfile_refuses_is_noticed(tmp_path):
    path = tmp_path / "a.flac"
    content = header(write_flac(path), samples=0)
    path.write_bytes(content[:26] + b"0123456789abcdef" + content[42:])
    with pytest.raises(AsvtkError, match="the MD5 in the header differs"):
        read_audio(path, 40000)


FORMS = [("FLAC", "PCM_S8"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "PCM_16"), ("WAV", "PCM_24")]


def samples_by(decoder, path, monkeypatch):
    """All samples, by one decoder alone."""
    with monkeypatch.context() as patch:
        refuse = {name: refused for name in decoding._DECODERS if name != decoder}
        for name, replacement in refuse.items():
            patch.setitem(decoding._DECODERS, name, replacement)
        return decoding.decode(path, lambda sound: (sound.rate, np.concatenate(list(sound.blocks))))[0]


def refused(*args):
    raise Refused("not asked")


@pytest.mark.parametrize("form, subtype", FORMS)
def test_all_decoders_give_the_same_bits(tmp_path, monkeypatch, form, subtype):
    full = np.random.default_rng(0).integers(-(2**31), 2**31, (9001, 2), dtype=np.int32)
    full[:4, 1] = -(2**31), 2**31 - 1, 0, -1
    soundfile.write(tmp_path / "a", full, 48000, format=form, subtype=subtype)
    expected, _ = soundfile.read(tmp_path / "a", dtype="float32")
    for decoder in ("libsndfile", "PyAV", "asvtk")[: 3 if form == "FLAC" else 2]:
        rate, found = samples_by(decoder, tmp_path / "a", monkeypatch)
        assert rate == 48000 and found.dtype == np.float32 and found.min() == -1 and found.max() < 1
        np.testing.assert_array_equal(found, expected)


def test_all_decoders_give_the_same_bits_of_real_speech(shared_data, monkeypatch):
    paths = sorted((shared_data / "la_real" / "LA").glob("*/flac/*.flac"))[::60]
    assert len(paths) > 10
    for path in paths:
        expected = samples_by("libsndfile", path, monkeypatch)[1]
        for decoder in ("PyAV", "asvtk"):
            np.testing.assert_array_equal(samples_by(decoder, path, monkeypatch)[1], expected)


def test_corpus_audio_is_not_lossy(tmp_path):
    soundfile.write(tmp_path / "a", AUDIO, 16000, format="OGG", subtype="VORBIS")
    with pytest.raises(AsvtkError, match="VORBIS, expected integer"):
        inspect_audio(tmp_path / "a")


def test_fallback_opens_no_other_file_than_the_one_named(tmp_path):
    import av

    write_flac(tmp_path / "a.flac")
    playlist = tmp_path / "b.ffconcat"
    playlist.write_text("ffconcat version 1.0\nfile a.flac\n")
    with av.open(str(playlist)) as container:  # FFmpeg itself would
        assert sum(frame.samples for frame in container.decode(audio=0)) == 40000
    with pytest.raises(AsvtkError, match="is text"):
        read_audio(playlist)


def test_fallback_takes_no_other_rate(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, WALK, 8000)
    path.write_bytes(header(path.read_bytes(), samples=0))
    with pytest.raises(AsvtkError, match="8000 Hz, expected 16000 Hz"):
        inspect_audio(path)


def test_fallback_is_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decoding, "_told", bytearray(1))
    for name in ("a.flac", "b.flac"):
        content = write_flac(tmp_path / name)
        (tmp_path / name).write_bytes(header(content, samples=0))
        read_audio(tmp_path / name, 40000)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/a.flac: libsndfile refuses it (its header does not tell how long it is)" in line


def test_without_pyav_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # what import finds when a package is not there
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x14ftypM4A \0\0\0\0M4A ")
    with pytest.raises(AsvtkError, match=r"a\.m4a: cannot be decoded.*PyAV.*cannot be imported"):
        read_audio(tmp_path / "a.m4a", 40000)


@pytest.mark.parametrize("pyav", [True, False])
def test_fault_11_clips_of_asvspoof_2021_give_the_md5_of_their_header(shared_data, monkeypatch, pyav):
    if not pyav:
        monkeypatch.setitem(sys.modules, "av", None)
    lines = (shared_data / "asvspoof2021_flac" / "manifest.tsv").read_text().splitlines()[1:]
    decoders = {"plain": "libsndfile", "fixed": "PyAV" if pyav else "asvtk", "lpc": "asvtk"}
    for name, _, kind, *_ in map(str.split, lines):
        assert decode_check(shared_data / "asvspoof2021_flac" / f"{name}.flac") == decoders[kind]


def test_decode_check_names_the_decoder_and_asks_the_md5(tmp_path):
    path = tmp_path / "a.flac"
    content = write_flac(path)
    assert decode_check(path) == "libsndfile"
    path.write_bytes(header(content, samples=0))
    assert decode_check(path) == "PyAV"
    path.write_bytes(content[:26] + b"0123456789abcdef" + content[42:])
    with pytest.raises(AsvtkError, match=r"a\.flac: its samples .* not those of the MD5"):
        decode_check(path)


def test_what_is_written_is_read_back_sample_by_sample(tmp_path):
    whole = (
        np.concatenate([[-32768, 32767, 0], np.random.default_rng(0).integers(-32768, 32768, 999)]) / 32768
    )
    write_audio(tmp_path / "new" / "a.flac", whole)
    assert np.array_equal(read_audio(tmp_path / "new" / "a.flac"), whole.astype(np.float32))
    assert inspect_audio(tmp_path / "new" / "a.flac")[0] == 1002


def test_what_would_be_clipped_or_is_not_finite_is_not_written(tmp_path):
    for samples in ([0.5, 1.01], [0.0, np.nan], [-np.inf]):
        with pytest.raises(AsvtkError, match="beyond full scale"):
            write_audio(tmp_path / "a.flac", np.array(samples))
    assert not list(tmp_path.iterdir())
