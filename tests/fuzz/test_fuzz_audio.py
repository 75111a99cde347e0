"""Audio: damaged headers and cut files are refused by name, and other files keep their scores."""

import csv
import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st
from mutations import ODD_NUMBERS, apply, byte_edits, fuzz

from asvtk.io.audio import inspect_audio, read_audio

RATE = 16_000
SAMPLES = np.round(3000 * np.random.default_rng(0).normal(size=3000)).astype(np.int16)
FORMATS = ["WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"]


def _encode(kind: str, samples=SAMPLES, rate: int = RATE, subtype: str | None = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def wav(
    samples=SAMPLES,
    *,
    rate=RATE,
    channels=1,
    bits=16,
    form=1,
    align=None,
    size=None,
    whole=None,
    before=b"",
    tag=b"data",
):
    """RIFF/WAVE byte by byte (Multimedia Programming Interface 1.0, 1991); any field may be wrong."""
    data = samples.tobytes()
    align = channels * bits // 8 if align is None else align
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, form, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    body = b"WAVE" + fmt + before + tag + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body) if whole is None else whole) + body


def flac(rate: int = RATE, channels: int = 1, bits: int = 16, total: int = len(SAMPLES)) -> bytes:
    """A sound file whose STREAMINFO (RFC 9639, section 8.2) claims something else."""
    data = _encode("FLAC")
    claim = (rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | total) & (1 << 64) - 1
    return data[:18] + claim.to_bytes(8, "big") + data[26:]


def ogg(kind: str) -> bytes:
    return _encode("OGG", subtype=kind, rate=RATE)


SOUND = {kind: _encode(kind) for kind in FORMATS}
SOUND |= {"OGG": ogg("VORBIS"), "OPUS": ogg("OPUS"), "MP3": _encode("MP3", subtype=None)}
SOUND |= {"stereo": _encode("WAV", np.stack([SAMPLES, SAMPLES[::-1]], 1)), "8 kHz": _encode("WAV", rate=8000)}
SOUND |= {
    "24 bit": _encode("FLAC", subtype="PCM_24"),
    "float": _encode("WAV", SAMPLES / 32768, subtype="FLOAT"),
}
LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"

#: lies of a header: name -> file
LIES = {
    **{f"WAV rate {rate}": wav(rate=rate) for rate in (0, 1, 7, 15_999, 192_000, 10**9, 2**32 - 1)},
    **{f"WAV channels {n}": wav(channels=n, align=2) for n in (0, 2, 8, 255, 65_535)},
    **{f"WAV align {n}": wav(align=n) for n in (0, 1, 3, 65_535)},
    **{f"WAV bits {n}": wav(bits=n, align=2) for n in (0, 1, 8, 12, 24, 64, 65_535)},
    **{f"WAV form {n}": wav(form=n) for n in (0, 2, 3, 6, 17, 85, 0xFFFE, 0xFFFF)},
    **{f"WAV data size {n}": wav(size=n) for n in (0, 1, 5999, 6001, 2**31, 2**32 - 1)},
    **{f"WAV RIFF size {n}": wav(whole=n) for n in (0, 1, 4, 37, 2**32 - 1)},
    "WAV of no samples": wav(SAMPLES[:0]),
    "WAV without data": wav(tag=b"junk"),
    "WAV with a huge chunk before": wav(before=b"junk" + struct.pack("<I", 2**32 - 1)),
    "WAV with an odd chunk before": wav(before=b"junk" + struct.pack("<I", 3) + b"abc"),
    "WAV with ten thousand chunks": wav(before=LIST * 10_000),
    **{f"FLAC rate {rate}": flac(rate=rate) for rate in (0, 1, 655_350, 2**20 - 1)},
    **{f"FLAC channels {n}": flac(channels=n) for n in (2, 8)},
    **{f"FLAC bits {n}": flac(bits=n) for n in (1, 4, 24, 32)},
    **{f"FLAC samples {n}": flac(total=n) for n in (0, 1, 2999, 3001, 2**32, 2**36 - 1)},
    "FLAC, its header alone": SOUND["FLAC"][:42],
    "FLAC, no frames": b"fLaC\x80\0\0\x22" + SOUND["FLAC"][8:42],
    "text": b"no audio\n" * 100,
    "HTML": b"<!DOCTYPE html><html>404</html>",
    "LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "empty": b"",
    "playlist of files": b"#EXTM3U\n/etc/passwd\n",
    "concat script": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "zeros": bytes(100_000),
    "MP3 frames of noise": b"\xff\xfb\x90\x64" * 20_000,
    "ID3 that claims 256 MB": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(1000),
}


def _read(case, name: str):
    """What stage 1 finds in a file and stage 2 decodes: where both take it, they agree."""
    info, _ = case.call(inspect_audio, name, names=name)
    audio, _ = case.call(read_audio, name, names=name)
    if info is None or audio is None:
        return None
    assert audio.ndim == 1, f"{audio.ndim} dimensions"
    assert audio.dtype == np.float32, f"{audio.dtype}"
    assert len(audio) == info[0], "the header has other samples than can be decoded"
    assert np.isfinite(audio).all(), "samples that are no numbers"
    return audio


def _score(case, lab, files: list[str]) -> tuple[dict, str]:
    """Scores by file, and the messages; each file has either."""
    said = case.run(
        "--model", lab.package, "--audio", "good.wav", *files, "--out", "scores.tsv", verb="score"
    )
    assert (case.folder / "scores.tsv").exists(), f"no file got its score: {said.err[:300]}"
    with open(case.folder / "scores.tsv", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert "good.wav" in rows, "a bad file costs a good one its score"
    for name in files:
        assert name in rows or name in said.err, f"{name} has neither a score nor a word"
    assert all(np.isfinite(float(row["score"])) for row in rows.values()), "scores that are no numbers"
    assert said.status == (0 if len(rows) == len(files) + 1 else 1), (
        f"exit {said.status} with {len(rows)} scores"
    )
    return {name: row["score"] for name, row in rows.items()}, said.err


# ---- sound files


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_of_16_bit_give_the_same_samples(lab, kind):
    with lab.case("readers") as case:
        for name in (f"a.{kind.lower()}", "a", "a.txt"):
            case.write(name, SOUND[kind])
            assert inspect_audio(name)[0] == len(SAMPLES)
            np.testing.assert_array_equal(read_audio(name), SAMPLES / np.float32(32768))


def test_formats_of_16_bit_get_the_same_score(lab):
    with lab.case("score") as case:
        case.write("good.wav", SOUND["WAV"])
        files = [case.write(f"a.{kind.lower()}", SOUND[kind]) for kind in FORMATS]
        scores, _ = _score(case, lab, files)
        values = [float(score) for score in scores.values()]  # in batches of other sizes
        assert max(values) - min(values) < 1e-5 and len(scores) == len(FORMATS) + 1


@pytest.mark.parametrize("kind", FORMATS)
def test_files_cut_short_are_refused(lab, kind):
    with lab.case("readers") as case:
        for part in (0.95, 0.5, 0.3):
            case.write("a", SOUND[kind][: int(len(SOUND[kind]) * part)])
            assert _read(case, "a") is None, f"a part of a {kind} file passes as whole: {part:.0%}"


# ---- damaged files


@fuzz(195, edits=byte_edits(), kind=st.sampled_from(sorted(SOUND)))
def test_damaged_audio(lab, edits, kind):
    with lab.case("readers") as case:
        _read(case, case.write("a." + kind.split()[-1].lower(), apply(edits, SOUND[kind])))


@fuzz(160, at=st.integers(0, 100), number=st.sampled_from(ODD_NUMBERS), kind=st.sampled_from(sorted(SOUND)))
def test_odd_numbers_in_headers(lab, at, number, kind):
    with lab.case("readers") as case:
        data = SOUND[kind]
        _read(case, case.write("a.wav", data[:at] + number + data[at + len(number) :]))


@fuzz(50, cut=st.integers(0, 120), kind=st.sampled_from(sorted(SOUND)))
def test_headers_cut_short(lab, cut, kind):
    with lab.case("readers") as case:
        assert _read(case, case.write("a.flac", SOUND[kind][:cut])) is None, "passes as whole"


@pytest.mark.parametrize("lie", LIES)
def test_lies_of_headers(lab, lie):
    with lab.case("readers") as case:
        _read(case, case.write("a.wav", LIES[lie]))


@pytest.mark.parametrize("first", range(0, len(LIES), 8))
def test_lies_of_headers_cost_no_other_file_its_score(lab, first):
    with lab.case("score") as case:
        case.write("good.wav", SOUND["WAV"])
        lies = list(LIES.items())[first : first + 8]
        _score(case, lab, [case.write(f"{number}.wav", data) for number, (_, data) in enumerate(lies)])


@fuzz(20, edits=st.lists(byte_edits(), min_size=4, max_size=4), kinds=st.permutations(sorted(SOUND)))
def test_damaged_audio_costs_no_other_file_its_score(lab, edits, kinds):
    with lab.case("score") as case:
        case.write("good.wav", SOUND["WAV"])
        files = zip(range(4), edits, kinds, strict=False)
        _score(case, lab, [case.write(f"{n}.flac", apply(edit, SOUND[kind])) for n, edit, kind in files])


@fuzz(20, edits=byte_edits(), which=st.integers(0, 100))
def test_damaged_audio_in_a_corpus(lab, edits, which):
    with lab.case("prepare") as case:
        flacs = sorted(case.copy(lab.corpus, "LA").rglob("*.flac"))
        path = flacs[which % len(flacs)]
        path.write_bytes(apply(edits, path.read_bytes()))
        said = case.run("LA", "data", "--nj", 1, names=path.name)
        if said.status == 0:
            data = case.folder / "data" / path.parent.parent.name.rpartition("_")[2]
            case.run("--model", lab.package, "--data", data, "--out", "s.txt", verb="score")
