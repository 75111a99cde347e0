"""Files and folders that people have lying about, as a data set."""

import os

import numpy as np
import pytest
import soundfile

from asvtk.bin import score_packed
from asvtk.corpora.folder import find_audio, import_audio
from asvtk.io.audio import read_audio
from asvtk.io.errors import AsvtkError

NOISE = 0.1 * np.random.default_rng(0).normal(size=9000)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "plain.flac", NOISE, 16000)
    return folder


def test_fault_9_skipped_files_are_counted_and_named(folder, capsys):
    for name in ("a.txt", "b.PDF", ".hidden.wav", "sound.M4A", "x.webm"):
        (folder / name).write_bytes(b"?")
    files, faults = find_audio([folder, folder / "a.txt"])
    assert [file.name for file in files] == ["plain.flac", "sound.M4A", "x.webm", "a.txt"] and not faults
    said = capsys.readouterr().err
    assert "3 files in folders were skipped" in said and "b.PDF" in said and ".hidden.wav" in said


def test_links_in_circles_missing_paths_and_closed_folders(folder, monkeypatch):
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "sub" / "gone.wav").symlink_to(folder / "nowhere")
    files, faults = find_audio([folder, folder / "missing.wav"])
    assert [file.name for file in files] == ["plain.flac", "gone.wav"]
    assert faults == [f"{folder}/missing.wav: no such file or folder"]
    _, data, faults = import_audio(files, folder)
    assert list(data.wav) == ["0000000"] and list(faults.values()) == [f"{folder}/sub/gone.wav: no such file"]
    scandir = os.scandir

    def closed(place):
        if str(place).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", closed)
    files, faults = find_audio([folder])
    assert len(files) == 1 and faults == [f"{folder}/sub: cannot be searched: Permission denied"]
    with pytest.raises(AsvtkError, match="no such file or folder"):
        find_audio([folder / "missing"])


def test_fault_15_one_bad_file_never_ends_a_batch(folder, capsys):
    bad = os.fsencode(folder) + b"/\xff\xe9.wav"
    with open(bad, "wb") as file:
        file.write(b"RIFF")
    soundfile.write(os.fsencode(folder) + b"/\xfe.wav", np.stack([NOISE] * 2, axis=1), 44100)
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    (folder / "empty.wav").touch()
    files, _ = find_audio([folder])
    named, data, faults = import_audio(files, folder)
    assert len(data.wav) == 2 and all(len(read_audio(wav)) for wav in data.wav.values())
    lines = "\n".join(faults.values())
    lines.encode()  # no half characters in messages
    assert len(faults) == 3 and r"/\xff\xe9.wav: is not a sound file" in lines
    assert "pipe.wav: is a pipe" in lines and "empty.wav: the file is empty" in lines
    assert r"/\xfe.wav: 2 channels averaged and resampled from 44100 Hz" in capsys.readouterr().err


def test_files_that_must_be_converted_are_and_others_are_used_in_place(folder):
    soundfile.write(folder / "loud.wav", np.sign(NOISE), 8000)
    files, _ = find_audio([folder])
    _, data, faults = import_audio(files, folder / "work")
    assert not faults and data.wav["0000001"] == str(folder / "plain.flac")
    loud = read_audio(data.wav["0000000"])
    assert len(loud) == 18000 and 0.999 < np.abs(loud).max() <= 1


def test_decisions_name_files_and_what_has_no_speech(tmp_path):
    rows = [("a", 1.0, False), ("b", -1.0, False), (r"c\xff", 2.0, True)]
    score_packed._write_decisions(tmp_path / "s.tsv", rows, 0.0)
    lines = (tmp_path / "s.tsv").read_text().splitlines()
    assert lines[1:] == ["a\t1.0\tbonafide", "b\t-1.0\tspoof", "c\\xff\t2.0\tno_speech"]
