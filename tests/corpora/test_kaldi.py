"""Kaldi data directories made by hand are completed, or refused with what is missing."""

import os

import numpy as np
import pytest
import soundfile

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory, find_problems


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Speakers in utt2spk, relative paths, a table by speaker."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("wavs")
    rng = np.random.default_rng(0)
    names = ["s1-a", "s1-b", "s2-c"]
    for number, name in enumerate(names):
        soundfile.write(f"wavs/{name} x.wav", rng.normal(size=800 + number) * 0.1, 16000)
    files = {
        "wav.scp": [f"{name} wavs/{name} x.wav" for name in names],
        "utt2spk": [f"{name} {name[:2]}" for name in names],
        "spk2utt": ["s1 s1-a s1-b", "s2 s2-c"],
        "spk2gender": ["s1 f", "s2 m"],
        "utt2label": ["s1-a bonafide", "s1-b spoof", "s2-c spoof"],
        "utt2attack": ["s1-b A01", "s2-c A02"],
    }
    (tmp_path / "d").mkdir()
    for name, lines in files.items():
        (tmp_path / "d" / name).write_text("\n".join(lines) + "\n")
    return tmp_path / "d"


def test_fault_24_a_directory_made_by_hand_is_completed(made, capsys):
    assert main(["validate", str(made)]) == 1
    assert "asvtk prepare --data" in capsys.readouterr().err
    for _ in range(2):  # again, it changes nothing
        assert main(["prepare", "--data", str(made)]) == 0
        data = DataDirectory.read(made)
        assert find_problems(made) == []
        assert data.speaker == {"s1-a": "s1", "s1-b": "s1", "s2-c": "s2"}
        assert list(data.num_samples.values()) == [800, 801, 802]
        assert data.attack == {"s1-a": "-", "s1-b": "A01", "s2-c": "A02"}
    assert (made / ".backup" / "utt2spk").read_text().startswith("s1-a s1\n")
    assert (made / ".backup" / "spk2gender").exists() and not (made / "spk2gender").exists()
    capsys.readouterr()
    assert main(["validate", "--decode", "--nj", "1", str(made)]) == 0
    assert "3 of 3 audio files were decoded: 3 by libsndfile" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file, content, told",
    [
        ("utt2attack", None, "expected the attack of each spoof, and 2 have none"),
        ("utt2label", None, "utt2label: no such file"),
        ("utt2label", "s1-a bonafide\n", "only one has s1-b, s2-c"),
        ("segments", "s1-a r 0 1\n", "asvtk reads whole files"),
        ("wav.scp", "s1-a cat x |\ns1-b y\ns2-c z\n", "commands are never run"),
        ("wav.scp", "s1-a x\ns1-b y\ns2-c z\n", "3 of 3 audio files do not exist"),
    ],
)
def test_what_cannot_be_completed_is_told_and_left_alone(made, capsys, file, content, told):
    if content is None:
        (made / file).unlink()
    else:
        (made / file).write_text(content)
    before = {path: path.read_bytes() for path in made.iterdir()}
    assert main(["prepare", "--data", str(made)]) == 1
    said = capsys.readouterr().err
    assert told in said and len(said.splitlines()) == 1
    assert {path: path.read_bytes() for path in made.iterdir()} == before


def test_fault_11_validate_decodes_and_counts(made, capsys):
    assert main(["prepare", "--data", str(made)]) == 0
    path = made.parent / "wavs" / "s1-b x.wav"
    soundfile.write(path, np.full(801, 0.25), 16000)  # as long as what was there
    (made.parent / "wavs" / "s2-c x.wav").write_bytes(b"RIFF")
    assert main(["validate", str(made)]) == 0
    assert main(["validate", "--decode", "--nj", "1", str(made)]) == 1
    said = capsys.readouterr()
    assert "1 of 3 audio files were decoded" in said.out
    assert "2 of 3 audio files cannot be used" in said.err
    assert "s1-b x.wav: was changed since stage 1" in said.err and "s2-c x.wav" in said.err
