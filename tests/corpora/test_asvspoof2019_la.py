"""The official layout -> data directories, and each way in which a corpus can be broken."""

import gzip
import os
import re
import shutil
from pathlib import Path

import pytest
import soundfile
from tiny_corpus import SPLITS, write_tiny_corpus

from asvtk.bin.main import main
from asvtk.corpora import audio_files
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.errors import AsvtkError
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


def test_fault_06_audio_replaced_after_stage_1_is_noticed(prepare, corpus, tmp_path, monkeypatch):
    prepare()
    out, read = tmp_path / "data" / "train", []
    before = DataDirectory.read(out)
    inspect = audio_files.inspect_audio
    monkeypatch.setattr(audio_files, "inspect_audio", lambda path: read.append(path) or inspect(path))
    assert prepare()[0] == 0 and read == []
    first, second = (Path(before.wav[u]) for u in before.utterances[:2])
    first.touch()  # the same audio: only the note of it is renewed
    status, said = prepare()
    assert status == 0 and read == [str(first)] and "written anew" not in said.err
    assert prepare()[0] == 0 and read == [str(first)]
    times = first.stat()
    audio, rate = soundfile.read(first)
    soundfile.write(first, -audio, rate, subtype="PCM_16")  # as long, and with the old date
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(AsvtkError, match="is not the audio that stage 1 found"):  # before stage 1 ran again
        read_audio(first, before.num_samples[first.stem], md5=before.md5[first.stem])
    soundfile.write(second, audio[:-1], rate, subtype="PCM_16")
    status, said = prepare()
    assert status == 0 and f"{first.stem}, {second.stem} is not what it was" in said.err
    after = DataDirectory.read(out)
    assert after.digest() != before.digest() and after.num_samples[second.stem] == len(audio) - 1
    assert [u for u in after.md5 if after.md5[u] != before.md5[u]] == [first.stem, second.stem]
    (out / ".audio").unlink()  # made before there was such a file: all headers are read once
    read.clear()
    assert prepare()[0] == 0 and len(read) == 12 and prepare()[0] == 0 and len(read) == 12
    first.write_bytes(b"")
    status, said = prepare()
    assert status == 1 and f"{first.name}: the file is empty" in said.err


@pytest.mark.parametrize(
    "change, status",
    [
        (lambda text: b"\xef\xbb\xbf" + text, 0),
        (lambda text: text.replace(b"\n", b"\r\n").replace(b" - ", b"\t-  ") + b"\r\n \n", 0),
        (gzip.compress, 0),
        (lambda text: text.replace(b"LA_0001", b"LA_\xe9"), "trn.txt:2: is not UTF-8"),
        (lambda text: text.replace(b"LA_0001", "LA\u00a01".encode()), "trn.txt:2: 'LA.xa01' is no id"),
        (lambda text: text.replace(b"LA_0001", b"LA\x0b1"), "trn.txt:2: expected 5 fields .* found 6"),
        (lambda text: text.replace(b" A01", b" A/1"), "trn.txt:2: 'A/1' is no id"),
    ],
)
def test_fault_07_protocols_as_other_programs_write_them(prepare, corpus, tmp_path, change, status):
    prepare("--sets", "train")
    expected = DataDirectory.read(tmp_path / "data" / "train")
    protocol(corpus).write_bytes(change(protocol(corpus).read_bytes()))
    found, said = prepare("--sets", "train", "--force")
    if status == 0:
        assert found == 0 and DataDirectory.read(tmp_path / "data" / "train") == expected
    else:
        assert found == 1 and re.search(status, said.err)


def test_legend_of_attacks_is_read_strictly(prepare, corpus, tmp_path):
    legend = corpus / "attacks.tsv"
    legend.write_bytes(b"\xef\xbb\xbfattack\tkind\tsystem\r\nA01\tvocoder\tx\r\n\r\n")
    assert prepare()[0] == 0
    assert read_table(tmp_path / "data" / "train" / "attack2kind") == {"A01": "vocoder"}
    legend.write_text("A01 vocoder\n")
    assert "attacks.tsv:1: expected 'attack kind system', parted by tabs" in prepare()[1].err


@pytest.mark.parametrize("kept", ["eval", "train"])
def test_a_corpus_of_one_set(prepare, corpus, tmp_path, kept):
    for split in set(SPLITS) - {kept}:
        shutil.rmtree(corpus / f"ASVspoof2019_LA_{split}")
    status, said = prepare()
    assert status == 0 and f"holds audio of {kept} only" in said.out
    assert [path.name for path in (tmp_path / "data").iterdir()] == [kept]
    other = "dev"
    status, said = prepare("--sets", other)
    assert status == 1 and f"{other}/flac: no such folder" in said.err
    with pytest.raises(AsvtkError, match="for each set that the corpus has"):
        DataDirectory.read(tmp_path / "data" / other)


def test_fault_15_paths_that_a_table_cannot_hold(corpus, tmp_path, capsys):
    spaced = tmp_path / "my  corpus\u00a0é "
    (tmp_path / "LA").rename(spaced)
    assert main(["prepare", str(spaced), str(tmp_path / "data")]) == 0
    assert find_problems(tmp_path / "data" / "dev") == []
    for name in (os.fsdecode(b"caf\xe9"), "two\nlines"):
        spaced = spaced.rename(tmp_path / name)
        assert main(["prepare", str(spaced), str(tmp_path / "data")]) == 1
        said = capsys.readouterr().err
        assert "cannot stand in wav.scp" in said and len(said.splitlines()) == 1


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
        if list(SPLITS).index(file.parent.name) >= list(SPLITS).index(split):
            assert file.read_bytes() == content, file


def test_missing_corpus_says_what_is_expected(prepare, tmp_path):
    assert "LA/ folder of the unpacked database" in prepare(folder=tmp_path / "none")[1].err
    (tmp_path / "empty").mkdir()
    status, said = prepare(folder=tmp_path / "empty")
    assert status == 1 and "holds no ASVspoof2019_LA_cm_protocols/" in said.err
