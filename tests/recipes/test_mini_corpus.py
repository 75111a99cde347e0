"""The generated corpus of egs/mini, through its command line."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader")
pytest.importorskip("pyworld")

LOCAL = Path(__file__).parents[2] / "egs" / "mini" / "local"
PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
TINY = {"train": 10, "dev": 10, "eval": 19}  # each attack of a split at least once


def command(folder, jobs=2, **changes):
    counts = [f"--{split}={count}" for split, count in {**TINY, **changes}.items()]
    return [sys.executable, str(LOCAL / "generate_corpus.py"), str(folder), f"--jobs={jobs}", *counts]


def generate(folder, **settings):
    return subprocess.run(command(folder, **settings), capture_output=True, text=True, timeout=120)


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def protocol(folder, split):
    path = folder / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{PROTOCOLS[split]}.txt"
    return [line.split(" ") for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "LA"
    done = generate(folder, jobs=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar outside a terminal
    return folder


def test_layout_is_the_official_one(corpus):
    assert sorted(path.name for path in corpus.iterdir()) == [
        ".generated",
        "ASVspoof2019_LA_cm_protocols",
        "ASVspoof2019_LA_dev",
        "ASVspoof2019_LA_eval",
        "ASVspoof2019_LA_train",
        "attacks.tsv",
        "corpus.json",
    ]
    for split, count in TINY.items():
        lines = protocol(corpus, split)
        assert len(lines) == count
        names = {path.stem for path in (corpus / f"ASVspoof2019_LA_{split}" / "flac").iterdir()}
        assert names == {line[1] for line in lines}


def test_protocol_lines(corpus):
    for split in TINY:
        for speaker, name, dash, attack, key in protocol(corpus, split):
            assert speaker[:3] == "LA_" and speaker[3:].isdigit() and len(speaker) == 7
            assert name[:5] == f"LA_{split[0].upper()}_" and name[5:].isdigit() and len(name) == 12
            assert dash == "-"
            assert (attack == "-") == (key == "bonafide")
            assert key in ("bonafide", "spoof")


def test_audio_is_16_khz_mono_16_bit_flac_of_one_and_a_half_to_four_seconds(corpus):
    for path in corpus.rglob("*.flac"):
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16000, 1)
        assert 1.4 < info.duration < 4.1
        audio, _ = soundfile.read(path)
        assert 0.01 < audio.std() < 0.1
        assert np.abs(audio).max() < 0.999


def test_speakers_are_disjoint(corpus):
    train, dev, test = ({line[0] for line in protocol(corpus, split)} for split in TINY)
    assert not (train & dev or train & test or dev & test)


def test_attacks_are_those_of_the_database(corpus):
    known = {f"A{number:02d}" for number in range(1, 7)}
    attacks = {split: {line[3] for line in protocol(corpus, split)} - {"-"} for split in TINY}
    assert attacks["train"] == attacks["dev"] == known
    assert len(attacks["eval"]) >= 8
    assert {"A16", "A19"} <= attacks["eval"]
    assert not attacks["eval"] & known
    rows = [line.split("\t") for line in (corpus / "attacks.tsv").read_text().splitlines()]
    assert rows[0] == ["attack", "kind", "system"]
    legend = {attack: (kind, system) for attack, kind, system in rows[1:]}
    assert set(legend) == known | attacks["eval"]
    assert legend["A16"] == legend["A04"]
    assert legend["A19"] == legend["A06"]
    others = [legend[attack] for attack in sorted(set(legend) - {"A16", "A19"})]
    assert len(set(others)) == len(others)


def test_a_second_run_has_nothing_to_do(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    done = generate(corpus)
    assert done.returncode == 0
    assert "is there" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_after_a_kill_one_job_makes_the_same_bytes_as_two_without(corpus, tmp_path):
    folder = tmp_path / "LA"
    running = subprocess.Popen(command(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not any(folder.rglob("*.flac")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=20)  # the pipes close only when the jobs have ended too
    assert not (folder / "corpus.json").exists()
    assert generate(folder, jobs=1).returncode == 0
    assert contents(folder) == contents(corpus)


def test_other_settings_or_a_lost_file_make_it_anew(corpus, tmp_path):
    folder = tmp_path / "LA"
    shutil.copytree(corpus, folder)
    few = {"train": 2, "dev": 1, "eval": 1}
    assert generate(folder, **few).returncode == 0
    first = contents(folder)
    assert len(list(folder.rglob("*.flac"))) == 4
    next(folder.rglob("*.flac")).unlink()
    assert generate(folder, **few).returncode == 0
    assert contents(folder) == first


def test_a_corpus_of_somebody_else_is_left_alone(tmp_path):
    audio = tmp_path / "ASVspoof2019_LA_train" / "flac" / "LA_T_1000137.flac"
    audio.parent.mkdir(parents=True)
    audio.write_bytes(b"official")
    (tmp_path / "attacks.tsv").write_text("attack\tkind\tsystem\n")  # the docs tell users to write one
    before = contents(tmp_path)
    done = generate(tmp_path)
    assert done.returncode == 1
    assert "did not make" in done.stderr and "Traceback" not in done.stderr
    assert contents(tmp_path) == before


def test_every_voice_and_language_speaks(monkeypatch):
    monkeypatch.syspath_prepend(LOCAL)
    import espeak
    import generate_corpus

    voices = [f"en-us+{variant}" for variant in generate_corpus.VARIANTS]
    voices += [f"{language}+f1" for language in generate_corpus.PHRASES]
    for voice in voices:
        text = generate_corpus.PHRASES[voice.partition("+")[0]][0]
        audio, rate = espeak.speak(text, voice)
        assert np.array_equal(audio, espeak.speak(text, voice)[0])
        assert rate == 22050
        assert 0.7 < len(audio) / rate < 4
        assert 0.05 < np.abs(audio).max() < 0.999
    with pytest.raises(espeak.AsvtkError, match="voice"):
        espeak.speak("hello", "xx+f1")
    with pytest.raises(espeak.AsvtkError, match="variant"):
        espeak.speak("hello", "en-us+nobody")


def test_get_corpus_says_what_this_corpus_is_not(tmp_path):
    # A python3 that only reports its arguments: the generation itself is tested above.
    (tmp_path / "python3").write_text('#!/bin/sh\necho "called with $*"\n')
    (tmp_path / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["local/get_corpus.sh", "data/LA", "3"],
        cwd=LOCAL.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing about human speech" in done.stdout
    assert "generate_corpus.py data/LA --jobs 3" in done.stdout
