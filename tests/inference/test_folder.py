"""Files and folders that people have lying about, as a data set."""

import os

import numpy as np
import pytest
import soundfile
import torch

from asvtk.bin.score import _decision, _write_decisions
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.inference.folder import find_audio
from asvtk.inference.recordings import Scored, score_recordings
from asvtk.io.errors import AsvtkError
from asvtk.models import assemble
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig

NOISE = 0.1 * np.random.default_rng(0).normal(size=9000)


def detector():
    """A small one, of random weights."""
    torch.manual_seed(0)
    model = MoeMambaConfig(d_model=16, blocks=1, d_state=4, d_expert=16, stack=4)
    return assemble(Lfcc(LfccConfig()), model, OcSoftmaxConfig())


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
    good, gone = score_recordings(detector(), files)
    assert good.score is not None and gone == Scored(None, f"{folder}/sub/gone.wav: no such file")
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
    outcomes = list(score_recordings(detector(), files))
    faults, notes = (
        [of for of in each if of] for each in zip(*((o.fault, o.note) for o in outcomes), strict=True)
    )
    lines = "\n".join(faults)
    lines.encode()  # no half characters in messages
    assert len([o for o in outcomes if o.score is not None]) == 2
    assert len(faults) == 3 and r"/\xff\xe9.wav: is not a sound file" in lines
    assert "pipe.wav: is a pipe" in lines and "empty.wav: the file is empty" in lines
    assert notes == ["2 channels averaged and resampled from 44100 Hz"]


def test_files_beyond_full_scale_and_of_other_rates_are_heard(folder):
    soundfile.write(folder / "loud.wav", 3 * np.sign(NOISE), 8000, subtype="FLOAT")
    loud, plain = score_recordings(detector(), find_audio([folder])[0])
    assert np.isfinite(loud.score) and loud.note == "resampled from 8000 Hz"
    assert plain == Scored(plain.score, has_speech=False)  # noise


def test_decisions_name_files_and_what_has_no_speech(tmp_path):
    rows = [("a", Scored(1.0)), ("b", Scored(-1.0)), (r"c\xff", Scored(2.0, has_speech=False))]
    for threshold, words in ((0.0, ["bonafide", "spoof", "no_speech"]), (None, ["-", "-", "no_speech"])):
        table = [(name, scored.score, _decision(scored, threshold)) for name, scored in rows]
        _write_decisions(tmp_path / "s.tsv", table)
        lines = [line.split("\t") for line in (tmp_path / "s.tsv").read_text().splitlines()[1:]]
        assert lines == [["a", "1.0", words[0]], ["b", "-1.0", words[1]], ["c\\xff", "2.0", words[2]]]
