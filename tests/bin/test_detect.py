"""asvtk detect: what a person with recordings types."""

import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import soundfile

from asvtk.bin.main import main

RATE = 16_000


@pytest.fixture(scope="module")
def clips(shared_data):
    return [soundfile.read(p)[0] for p in sorted((shared_data / "la_real/LA").glob("*eval/flac/*"))[:40]]


@pytest.fixture
def here(tmp_path, monkeypatch, trained, clips):
    """A folder of recordings, of which three are bad."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "calls"
    folder.mkdir()
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", np.tile(clips[number], 2), RATE)
    soundfile.write(folder / "silence.ogg", np.zeros(2 * RATE), RATE)
    (folder / "empty.mp3").touch()
    (folder / "text.m4a").write_text("this is no recording\n")
    (folder / "cut.wav").write_bytes((folder / "0.wav").read_bytes()[:20_000])
    return tmp_path


def detect(trained, *words) -> int:
    return main(["detect", "--model", str(trained / "exp"), *map(str, words)])


def test_a_folder_with_bad_files_is_judged_and_says_why(here, trained, capsys):
    assert detect(trained, "calls", "gone.wav", "--json") == 3
    out, err = capsys.readouterr()
    judged = [json.loads(line) for line in out.splitlines()]
    assert [item["file"] for item in judged] == [
        f"calls/{name}" for name in ("0.wav", "1.wav", "2.wav", "3.wav")
    ] + ["calls/silence.ogg"]
    assert judged[-1]["verdict"] == "no_speech" and judged[0]["verdict"] == "undecided"
    assert len(judged[0]["model_sha256"]) == 64 and judged[0]["model"] == "exp"
    lines = [line for line in err.splitlines() if "error" in line]
    assert len(lines) == 5 and lines[-1].endswith("4 of 9 could not be judged")
    for name in (
        "empty.mp3: the file is empty",
        "text.m4a: is text",
        "cut.wav: is cut off",
        "gone.wav: no such",
    ):
        assert any(name in line for line in lines), name


def test_killed_it_goes_on_and_the_result_is_the_same(here, trained, capsys):
    for name in ("empty.mp3", "text.m4a", "cut.wav"):
        (here / "calls" / name).unlink()
    for number in range(4, 18):
        os.link(here / "calls" / f"{number % 4}.wav", here / "calls" / f"{number}.wav")
    assert detect(trained, "calls", "--out", "once") == 0
    words = [sys.executable, "-m", "asvtk", "detect", "--model", trained / "exp", "calls", "--out", "twice"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    journal = here / "twice" / "detections.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = journal.read_bytes().count(b"\n")
    assert done < 19
    with open(journal, "ab") as stream:
        stream.write(b'{"file": "calls/cut sho')  # as a kill may leave it
    capsys.readouterr()
    assert detect(trained, "calls", "--out", "twice", "--nj", 2) == 0
    assert f"twice: {done} files were judged already" in capsys.readouterr().err
    for name in ("detections.csv", "detections.rttm"):
        assert (here / "once" / name).read_bytes() == (here / "twice" / name).read_bytes()
    lines = [
        sorted((here / name / "detections.jsonl").read_text().splitlines()) for name in ("once", "twice")
    ]
    assert lines[0] == lines[1] and len(lines[0]) == 19
    assert detect(trained, "calls", "--out", "twice", "--prior", "0.1") == 1
    assert "twice: holds verdicts that were found with another prior" in capsys.readouterr().err
    assert detect(trained, "calls/0.wav", "--out", "twice", "--prior", "0.1", "--force") == 0


def test_raw_audio_is_answered_while_it_comes_and_a_file_may_come_through_a_pipe(
    here, trained, clips, monkeypatch, capsys
):
    words = [sys.executable, "-m", "asvtk", "detect", "--model", trained / "exp"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    raw = subprocess.Popen([*words, "--raw", "-", "--window", "3"], **pipes)
    samples = np.concatenate(clips)[: 8 * RATE]
    raw.stdin.write((samples * 32767).astype("<i2").tobytes() + b"\0")  # half a sample at the end
    raw.stdin.flush()
    first = json.loads(raw.stdout.readline())  # before the end has come
    assert 2 <= first["t"] <= 8 and first["verdict"] == "undecided" and "score" in first
    rest = [json.loads(line) for line in raw.communicate(timeout=60)[0].splitlines()]
    assert raw.returncode == 0 and rest[-1]["duration"] == 8 and rest[-1]["file"] == "-"
    with open(here / "calls" / "1.wav", "rb") as file:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=file))
        assert detect(trained, "-", "--json") == 0
    (judged,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert judged["file"] == "-" and judged["score"] is not None


@pytest.mark.parametrize(
    "words, said",
    [
        (["a.wav", "--prior", "1"], "prior 1.0: expected a probability"),
        (["a.wav", "--hop", "0"], "hop 0.0: expected 0.1 to 60 seconds"),
        (["a.wav", "--pooling", "max"], "expected one of mean, min, trimmed"),
        ([], "name recordings to judge"),
        (["a.wav", "--raw"], "--raw: goes with - alone"),
        (["-", "-"], "standard input can be read once"),
        (["a.wav", "--force"], "--force: goes with --out"),
        (["gone.wav"], "gone.wav: no such file or folder"),
        (["-", "--out", "x"], "-: has no name"),
    ],
)
def test_misuse_is_one_line(here, trained, capsys, words, said):
    assert detect(trained, *words) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_thresholds_that_are_no_numbers_are_usage_errors(here, trained, capsys):
    with pytest.raises(SystemExit):
        detect(trained, "calls", "--threshold", "nan")
    assert "threshold" in capsys.readouterr().err


def test_fail_on_spoof_and_a_threshold(here, trained, capsys):
    assert detect(trained, "calls/0.wav", "--threshold", "9", "--fail-on", "spoof", "--json") == 4
    assert json.loads(capsys.readouterr().out)["verdict"] == "spoof"
    assert detect(trained, "calls/0.wav", "--threshold", "-9", "--fail-on", "spoof", "--rttm") == 0
