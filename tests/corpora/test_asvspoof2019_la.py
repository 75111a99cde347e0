"""The official layout -> data directories, and each way in which a corpus can be broken."""

import re

import pytest
import soundfile
from tiny_corpus import write_tiny_corpus

from asvtk.bin.main import main
from asvtk.corpora.asvspoof2019_la import SPLITS
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.tables import read_table


@pytest.fixture
def corpus(tmp_path):
    return write_tiny_corpus(tmp_path)


@pytest.fixture
def prepare(corpus, tmp_path, capsys):
    def run(*options, folder=corpus):
        status = main(["prepare", str(folder), str(tmp_path / "data"), *options])
        return status, capsys.readouterr()

    return run


def protocol(corpus, name="train.trn"):
    return corpus / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{name}.txt"


def replace(path, pattern, new):
    path.write_text(re.sub(pattern, new, path.read_text(), count=1))


def test_directories_are_sound_and_the_difference_is_one_line(prepare, tmp_path):
    status, said = prepare()
    assert status == 0
    for split, count in {"train": 12, "dev": 8, "eval": 10}.items():
        assert find_problems(tmp_path / "data" / split) == []
        assert len(DataDirectory.read(tmp_path / "data" / split).utterances) == count
    (note,) = [line for line in said.out.splitlines() if line.startswith("note: ")]
    assert "not the official ASVspoof 2019 LA" in note and "2580+22800" in note


def test_parent_of_LA_is_taken_too(prepare, corpus):
    assert prepare(folder=corpus.parent)[0] == 0


def test_real_speech_corpus(shared_data, tmp_path):
    assert main(["prepare", str(shared_data / "la_real"), str(tmp_path)]) == 0
    data = DataDirectory.read(tmp_path / "eval")
    labels = list(data.label.values())
    assert (labels.count("bonafide"), labels.count("spoof")) == (130, 169)
    assert sorted(set(data.attack.values())) == ["-"] + [f"A{n:02d}" for n in range(7, 20)]
    assert len(data.asv_scores.read_text().splitlines()) == 102_579
    assert not DataDirectory.read(tmp_path / "train").asv_scores.exists()
    # A08 is a TTS system in the official database; this corpus brings its own legend
    assert read_table(tmp_path / "eval" / "attack2kind")["A08"] == "vocoder"


def test_second_run_reads_no_audio(prepare, corpus):
    prepare()
    for file in corpus.rglob("*.flac"):
        file.write_bytes(b"")
    assert prepare()[0] == 0
    assert prepare("--force")[0] == 1


def test_data_of_another_corpus_is_not_overwritten(prepare, corpus, tmp_path):
    prepare()
    replace(protocol(corpus), "(?m)^LA_0001.*\n", "")
    status, said = prepare()
    assert status == 1 and "lists other trials" in said.err and "--datadir" in said.err
    assert prepare("--force")[0] == 0
    assert len(DataDirectory.read(tmp_path / "data" / "train").utterances) == 11


def test_asv_scores_of_an_older_corpus_do_not_stay(prepare, corpus, tmp_path):
    asv = corpus / "ASVspoof2019_LA_asv_scores"
    asv.mkdir()
    (asv / "ASVspoof2019.LA.asv.dev.gi.trl.scores.txt").write_text("bonafide target 1\n")
    prepare()
    assert (tmp_path / "data" / "dev" / "asv_scores").exists()
    (asv / "ASVspoof2019.LA.asv.dev.gi.trl.scores.txt").unlink()
    assert prepare()[0] == 0
    assert not (tmp_path / "data" / "dev" / "asv_scores").exists()


def rewrite_audio(corpus, **options):
    path = sorted((corpus / "ASVspoof2019_LA_train" / "flac").iterdir())[3]
    audio, _ = soundfile.read(path)
    path.unlink()
    options = {"samplerate": 16000, "format": "FLAC"} | options
    soundfile.write(path, options.pop("audio", lambda x: x)(audio), **options)


@pytest.mark.parametrize(
    "harm, message",
    [
        (
            lambda c: replace(protocol(c), r" - A01 spoof", " - spoof"),
            r"train.trn.txt:2: expected 5 fields .*found 4",
        ),
        (lambda c: replace(protocol(c), r"spoof", "fake"), r"train.trn.txt:2: the key is 'fake'"),
        (lambda c: replace(protocol(c), r"A01 spoof", "- spoof"), r"is spoof with attack '-'"),
        (
            lambda c: replace(protocol(c), r"1000037", "1000000"),
            r"LA_T_1000000 stands here for the second time",
        ),
        (lambda c: protocol(c).write_text(""), r"lists no trials"),
        (lambda c: protocol(c, "eval.trl").unlink(), r"eval.trl.txt: no such protocol"),
        (
            lambda c: (c / "ASVspoof2019_LA_dev" / "flac" / "LA_D_1000000.flac").unlink(),
            r"dev/flac: 1 of the 8 utterances in .*dev.trl.txt have no .flac file: LA_D_1000000",
        ),
        (lambda c: rewrite_audio(c, samplerate=8000), r"LA_T_1000111.flac: 8000 Hz"),
        (
            lambda c: rewrite_audio(c, format="WAV", subtype="FLOAT"),
            r"LA_T_1000111.flac: samples are 32 bit float",
        ),
        (
            lambda c: rewrite_audio(c, format="WAV", audio=lambda x: x[:0]),
            r"LA_T_1000111.flac: holds no samples",
        ),
        (lambda c: rewrite_audio(c, audio=lambda x: x.reshape(-1, 2)), r"LA_T_1000111.flac: 2 channels"),
    ],
    ids=range(11),
)
def test_fault_is_named_and_nothing_is_lost(corpus, prepare, tmp_path, harm, message):
    split = "eval" if "eval" in message else "dev" if "dev" in message else "train"
    prepare()
    before = {file: file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file()}
    harm(corpus)
    status, said = prepare("--force")
    assert status == 1 and re.search(message, said.err)
    assert "Traceback" not in said.err
    # The faulty split and those after it are as they were; --force rewrote those before it.
    for file, content in before.items():
        if SPLITS.index(file.parent.name) >= SPLITS.index(split):
            assert file.read_bytes() == content, file


def test_missing_corpus_says_what_is_expected(prepare, tmp_path):
    assert "LA/ folder of the unpacked database" in prepare(folder=tmp_path / "none")[1].err
    (tmp_path / "empty").mkdir()
    status, said = prepare(folder=tmp_path / "empty")
    assert status == 1 and "holds no ASVspoof2019_LA_cm_protocols/" in said.err
