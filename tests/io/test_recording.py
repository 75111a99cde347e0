"""Recordings of any kind: what comes out is right, or a line says why nothing does."""

import os
import struct

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from asvtk.io.errors import AsvtkError
from asvtk.io.recording import _Resampler, read_recording

TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)).astype(np.float32)


def tone(rate: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)


def difference(found: np.ndarray, delay: int = 0) -> float:
    """RMS error in dB of the tone, away from its ends."""
    rest = found[2000 + delay : 14000 + delay] - TONE[2000:14000]
    return 10 * np.log10(np.mean(rest**2) / np.mean(TONE**2) + 1e-12)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 44100, 44101, 48000, 96000, 192000, 384000])
def test_rates_are_resampled(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype="PCM_24")
    recording = read_recording(tmp_path / "a.wav")
    assert len(recording.samples) == 16000 and recording.samples.dtype == np.float32
    assert recording.changes == (f"resampled from {rate} Hz",)
    assert difference(recording.samples) < -50


@pytest.mark.parametrize("rate", [8000, 44100, 12345])
def test_resampling_in_pieces_is_that_of_the_whole(monkeypatch, rate):
    monkeypatch.setattr(_Resampler, "_PIECE", 3000)
    samples = np.random.default_rng(0).normal(size=40077).astype(np.float32)
    common = np.gcd(rate, 16000)
    expected = resample_poly(samples, 16000 // common, rate // common)
    resampler = _Resampler(rate)
    parts = [resampler.push(part) for part in np.split(samples, [1, 7000, 7001, 30000])]
    np.testing.assert_array_equal(np.concatenate([*parts, resampler.finish()]), expected)


@pytest.mark.parametrize(
    "subtype, error",
    [("PCM_U8", -30), ("PCM_32", -90), ("FLOAT", -90), ("DOUBLE", -90), ("ULAW", -30), ("ALAW", -30)]
    + [("IMA_ADPCM", -20), ("MS_ADPCM", -20), ("GSM610", -10)],
)
def test_odd_codings(tmp_path, subtype, error):
    soundfile.write(tmp_path / "a.wav", TONE, 16000, subtype=subtype)
    assert difference(read_recording(tmp_path / "a.wav").samples) < error


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_averaged(tmp_path, channels):
    gains = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)
    soundfile.write(tmp_path / "a.wav", TONE[:, None] * gains, 16000, subtype="FLOAT")
    recording = read_recording(tmp_path / "a.wav")
    np.testing.assert_allclose(recording.samples, TONE, atol=1e-6)
    assert recording.changes == ((f"{channels} channels averaged",) if channels > 1 else ())


@pytest.mark.parametrize("gain", [-1.0, -0.9])
def test_fault_8_channels_that_cancel_out_give_the_loudest(tmp_path, gain):
    soundfile.write(tmp_path / "a.wav", np.stack([TONE * gain, TONE], axis=1), 16000, subtype="FLOAT")
    recording = read_recording(tmp_path / "a.wav")
    loudest = 0 if gain == -1 else 1  # of two that are alike, the first
    np.testing.assert_allclose(recording.samples, TONE * (gain if loudest == 0 else 1), atol=1e-6)
    assert recording.changes == (f"channel {loudest + 1} of 2 taken, as their mean loses the energy",)


FORMS = {"wav": "WAV", "aiff": "AIFF", "au": "AU", "caf": "CAF", "w64": "W64", "rf64": "RF64", "sph": "NIST"}
LOSSY = {"mp3": "MP3", "ogg": "OGG", "flac": "FLAC"}


@pytest.mark.parametrize("suffix, form", (FORMS | LOSSY).items())
def test_fault_8_files_cut_short_are_refused(tmp_path, suffix, form):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, TONE, 16000, format=form)
    whole = path.read_bytes()
    assert abs(len(read_recording(path).samples) - 16000) < 1200
    for share in (0.3, 0.9, 0.99) if suffix != "mp3" else (0.3, 0.6):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(AsvtkError, match=rf"a\.{suffix}: .*cut off") as error:
            read_recording(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFD8])
def test_a_streamed_header_is_read_to_the_end(tmp_path, length):
    soundfile.write(tmp_path / "a.wav", TONE, 16000)
    content = (tmp_path / "a.wav").read_bytes()
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    packed = struct.pack("<I", length)
    (tmp_path / "a.wav").write_bytes(content[:4] + packed + content[8:40] + packed + content[44:])
    np.testing.assert_array_equal(read_recording(tmp_path / "a.wav").samples, expected)
    soundfile.write(tmp_path / "a.au", TONE, 16000)
    content = (tmp_path / "a.au").read_bytes()
    (tmp_path / "a.au").write_bytes(content[:8] + b"\xff" * 4 + content[12:])
    np.testing.assert_array_equal(read_recording(tmp_path / "a.au").samples, expected)


def test_an_mp3_without_a_length_is_read(tmp_path):
    soundfile.write(tmp_path / "a.mp3", TONE, 16000, format="MP3")
    content = (tmp_path / "a.mp3").read_bytes()
    begin = content.index(content[:2] + b"", 4)  # the first frame holds the length
    (tmp_path / "a.mp3").write_bytes(content[begin : int(0.7 * len(content))])
    assert 8000 < len(read_recording(tmp_path / "a.mp3").samples) < 13000


HEADERS = {
    "0 Hz": (24, "<I", 0),
    "1 Hz": (24, "<I", 1),
    "10**9 Hz": (24, "<I", 10**9),
    "1000 channels": (22, "<H", 1000),
}


@pytest.mark.parametrize("place, kind, number", HEADERS.values(), ids=HEADERS)
def test_fault_17_absurd_headers_are_refused(tmp_path, place, kind, number):
    soundfile.write(tmp_path / "a.wav", TONE, 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    struct.pack_into(kind, content, place, number)
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AsvtkError, match=r"a\.wav: (its header says|cannot be decoded)"):
        read_recording(tmp_path / "a.wav")


def test_fault_17_two_days_of_sound_are_refused_before_they_are_decoded(tmp_path):
    soundfile.write(tmp_path / "a.flac", TONE, 16000)
    content = (tmp_path / "a.flac").read_bytes()
    packed = int.from_bytes(content[18:26], "big") | 2**36 - 1
    (tmp_path / "a.flac").write_bytes(content[:18] + packed.to_bytes(8, "big") + content[26:])
    with pytest.raises(AsvtkError, match=r"by its header it lasts 71583 minutes; cut it"):
        read_recording(tmp_path / "a.flac")


@pytest.mark.parametrize("sample", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, sample):
    soundfile.write(tmp_path / "a.wav", np.append(TONE, sample), 16000, subtype="FLOAT")
    with pytest.raises(AsvtkError, match="not finite"):
        read_recording(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["raw", "vox", "mp3", "txt", "wav"])
def test_the_content_decides_and_not_the_name(tmp_path, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", TONE, 16000, format="FLAC", subtype="PCM_16")
    assert difference(read_recording(tmp_path / f"a.{suffix}").samples) < -60
    (tmp_path / f"a.{suffix}").write_text("words, and nothing but words\n" * 100)
    with pytest.raises(AsvtkError, match="is text, not a sound file"):
        read_recording(tmp_path / f"a.{suffix}")


def encode(path, codec: str, rate: int, layout: str = "mono", container: str | None = None) -> None:
    """Write the tone by FFmpeg."""
    import av

    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg does not write {codec}")
    channels = {"mono": 1, "stereo": 2}[layout]
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        fifo = av.AudioFifo()
        planes = np.ascontiguousarray(np.stack([tone(rate)] * channels).astype(np.float32))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for part in av.AudioResampler(format=stream.format, layout=layout, rate=rate).resample(frame):
            fifo.write(part)
        while (part := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode())


KINDS = [
    ("a.m4a", "aac", 44100, "stereo", None),
    ("a.mp4", "aac", 48000, "mono", None),
    ("a.aac", "aac", 16000, "mono", "adts"),
    ("a.webm", "libopus", 48000, "mono", None),
    ("a.mka", "libopus", 48000, "stereo", None),
    ("a.amr", "libopencore_amrnb", 8000, "mono", None),
    ("a.opus", "libopus", 48000, "mono", None),
    ("a.caf", "alac", 44100, "stereo", None),
    ("mp3 in.wav", "libmp3lame", 16000, "mono", "wav"),
]


@pytest.mark.parametrize("name, codec, rate, layout, container", KINDS, ids=[kind[0] for kind in KINDS])
def test_fault_9_what_ffmpeg_knows_is_read_and_cut_files_are_not(
    tmp_path, name, codec, rate, layout, container
):
    path = tmp_path / name
    encode(path, codec, rate, layout, container)
    samples = read_recording(path).samples
    assert 15900 < len(samples) < 18500
    spectrum = np.abs(np.fft.rfft(samples[4000:12000]))
    assert abs(spectrum.argmax() * 2 - 440) <= 2 and 0.15 < np.std(samples[4000:12000]) < 0.25
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 7])
    with pytest.raises(AsvtkError, match="cut off|after .* comes what is no sound"):
        read_recording(path)


def test_fault_9_no_sound_track_is_said(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode())
    with pytest.raises(AsvtkError, match=r"a\.mp4: cannot be decoded: it has no sound track"):
        read_recording(tmp_path / "a.mp4")


@pytest.mark.parametrize("md5", [True, False])
def test_fault_10_flac_of_unknown_length_is_converted_like_any_other(tmp_path, md5):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([tone(44100)] * 2, axis=1), 44100)
    content = path.read_bytes()
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36
    path.write_bytes(
        content[:18] + packed.to_bytes(8, "big") + (content[26:42] if md5 else bytes(16)) + content[42:]
    )
    recording = read_recording(path)
    assert recording.changes == ("2 channels averaged", "resampled from 44100 Hz")
    assert len(recording.samples) == 16000 and difference(recording.samples) < -50


def test_one_ogg_stream_after_another_is_read_whole_and_a_missing_end_is_told(tmp_path):
    encode(tmp_path / "a.opus", "libopus", 48000)
    content = (tmp_path / "a.opus").read_bytes()
    other = bytearray(content)
    (tmp_path / "b.opus").write_bytes(content + bytes(other))
    assert 31500 < len(read_recording(tmp_path / "b.opus").samples) < 33000
    last = content.rindex(b"OggS")
    (tmp_path / "c.opus").write_bytes(content[:last])
    assert last and read_recording(tmp_path / "c.opus").doubt


def test_fault_17_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path, kind in (
        (tmp_path / "pipe.wav", "a pipe or a device"),
        ("/dev/zero", "a pipe or a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(AsvtkError, match=f"is {kind}, expected a sound file"):
            read_recording(path)


def test_a_header_that_points_out_of_the_file_is_refused_without_noise(tmp_path, capfd):
    soundfile.write(tmp_path / "a.caf", TONE, 16000, format="CAF")
    content = (tmp_path / "a.caf").read_bytes()
    for length in (2**63 - 1, 2**62, 2**40):
        (tmp_path / "a.caf").write_bytes(content[:12] + length.to_bytes(8, "big") + content[20:])
        with pytest.raises(AsvtkError, match=r"a\.caf: "):
            read_recording(tmp_path / "a.caf")
    assert capfd.readouterr().err == ""
