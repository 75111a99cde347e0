"""Audio that front-ends can use, and what is said of audio that they cannot."""

import hashlib

import numpy as np
import pytest
import soundfile

from asvtk.io.audio import inspect_audio, read_audio
from asvtk.io.errors import AsvtkError

AUDIO = 0.1 * np.sin(np.arange(16000) / 10)


def test_flac_round_trip(tmp_path):
    soundfile.write(tmp_path / "a.flac", AUDIO, 16000, subtype="PCM_16")
    assert inspect_audio(tmp_path / "a.flac")[0] == 16000
    audio = read_audio(tmp_path / "a.flac", 16000)
    assert audio.dtype == np.float32 and audio.shape == (16000,)
    np.testing.assert_allclose(audio, AUDIO, atol=2**-15)


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda f: soundfile.write(f, AUDIO, 8000), "8000 Hz, expected 16000 Hz; convert"),
        (lambda f: soundfile.write(f, np.stack([AUDIO] * 2, 1), 16000), "2 channels, expected 1; convert"),
        (
            lambda f: soundfile.write(f, AUDIO, 16000, format="WAV", subtype="FLOAT"),
            "32 bit float, expected integer",
        ),
        (lambda f: soundfile.write(f, AUDIO[:0], 16000, format="WAV"), "holds no samples"),
        (lambda f: f.write_bytes(b""), r"empty \(0 bytes\)"),
        (lambda f: f.write_text("no audio at all"), "cannot be decoded"),
        (lambda f: None, "no such file"),
    ],
    ids=["8 kHz", "stereo", "float", "no samples", "empty", "text", "missing"],
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
