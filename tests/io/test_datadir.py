"""Data directories: the round trip, and every fault that validate must find."""

import gzip
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory, find_problems, refuse_same_names
from asvtk.io.errors import AsvtkError
from asvtk.io.tables import read_table, write_table


@pytest.fixture
def data(tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    utterances = ["LA_T_1", "LA_T_2", "LA_T_3"]
    for utterance in utterances:
        (audio / f"{utterance}.flac").touch()
    directory = DataDirectory(
        path=tmp_path / "train",
        wav={u: str(audio / f"{u}.flac") for u in utterances},
        speaker=dict.fromkeys(utterances, "LA_0079"),
        label=dict(zip(utterances, ["bonafide", "spoof", "spoof"], strict=True)),
        attack=dict(zip(utterances, ["-", "A01", "A02"], strict=True)),
        num_samples=dict.fromkeys(utterances, 16000),
        md5=dict.fromkeys(utterances, "0123456789abcdef"),
    )
    directory.write()
    return directory


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_round_trip(data):
    assert DataDirectory.read(data.path) == data
    assert find_problems(data.path) == []


def test_a_table_of_sources_has_a_line_for_everyone_and_holds_vocoded_spoofs_alone(data):
    vocoded = replace(data, source={"LA_T_3": "LA_T_1"})
    vocoded.write()
    assert read_table(data.path / "utt2source") == {"LA_T_1": "-", "LA_T_2": "-", "LA_T_3": "LA_T_1"}
    assert DataDirectory.read(data.path) == vocoded and find_problems(data.path) == []
    assert vocoded.digest() != data.digest()
    assert vocoded.subset(["LA_T_1", "LA_T_2"]).source == {}
    parts = [vocoded.subset(["LA_T_1", "LA_T_3"]), vocoded.subset(["LA_T_2"])]
    assert DataDirectory.union(parts) == vocoded
    edit(data.path / "utt2source", "LA_T_1 -", "LA_T_1 asvspoof")
    with pytest.raises(AsvtkError, match="utt2source:1: LA_T_1 has 'asvspoof', expected '-' for bona fide"):
        DataDirectory.read(data.path)


def test_validate_says_so(data, capsys):
    assert main(["validate", str(data.path)]) == 0
    assert "Successfully validated data-directory" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file, old, new, problem",
    [
        ("utt2label", "LA_T_2 spoof\n", "", r"utt2label: lacks 1 utterances, first LA_T_2"),
        (
            "utt2label",
            "LA_T_2 spoof",
            "LA_T_2 fake",
            r"utt2label:2: LA_T_2 has 'fake', expected one of bonafide spoof",
        ),
        ("utt2label", "LA_T_2 spoof", "LA_T_2", r"utt2label:2: expected 'key value'"),
        ("utt2label", "LA_T_3", "LA_T_2", r"utt2label:3: LA_T_2 stands here for the second time"),
        ("utt2attack", "A01", "-", r"utt2attack:2: LA_T_2 has '-', expected '-' for bona fide and"),
        ("utt2attack", "LA_T_1 -", "LA_T_1 A00", r"utt2attack:1: LA_T_1 has 'A00'"),
        ("utt2num_samples", "LA_T_1 16000", "LA_T_1 0", r"utt2num_samples:1: LA_T_1 has '0'"),
        (
            "utt2num_samples",
            "LA_T_3 16000\n",
            "LA_T_3 16000",
            r"utt2num_samples:3: the last line has no newline",
        ),
        (
            "utt2spk",
            "LA_T_1 LA_T_1",
            "LA_T_1 LA_0079",
            r"utt2spk:1: LA_T_1 has 'LA_0079', expected the utterance",
        ),
        (
            "wav.scp",
            "LA_T_1.flac",
            "gone.flac",
            r"wav.scp:1: LA_T_1 has .*gone.flac', expected an existing audio",
        ),
        (
            "wav.scp",
            "LA_T_1.flac",
            "x |",
            r"wav.scp:1: LA_T_1 has .* expected a path: commands are never run",
        ),
        (
            "utt2speaker",
            "LA_T_1 ",
            "LA_T_9 ",
            r"utt2speaker:2: LA_T_2 comes after LA_T_9: not in LC_ALL=C order",
        ),
    ],
)
def test_each_fault_is_found_with_its_line(data, file, old, new, problem, capsys):
    edit(data.path / file, old, new)
    assert main(["validate", str(data.path)]) == 1
    assert re.search(problem, capsys.readouterr().err)


def test_missing_file_is_found(data):
    (data.path / "utt2label").unlink()
    assert find_problems(data.path) == [f"{data.path}/utt2label: no such file"]
    data.write()
    (data.path / "utt2attack").unlink()
    with pytest.raises(AsvtkError, match="utt2attack: no such file; 'asvtk prepare --data .*' adds"):
        DataDirectory.read(data.path)


@pytest.mark.parametrize(
    "file, content, told",
    [
        ("segments", "LA_T_1 reco 0.0 1.5\n", "segments: utterances are pieces of recordings"),
        (
            "reco2file_and_channel",
            "LA_T_1 LA_T_1 B\n",
            "reco2file_and_channel:1: .* expected the only channel",
        ),
        ("wav.scp", "LA_T_1 sox x.wav -t wav - |\n", "wav.scp:1: .* commands are never run"),
        ("wav.scp", "LA_T_1 raw.ark:123\n", "wav.scp:1: .* archives not read"),
        ("wav.scp", "\n../LA_T_1 x.flac\n", "wav.scp:2: ../LA_T_1 .* an id that can be a file name"),
        ("wav.scp", "LA_T\u00a01 x.flac\n", "wav.scp:1: 'LA_T.xa01' has"),
        ("wav.scp", "LA\x0b1 x.flac\n", "wav.scp:1: 'LA.x0b1' has"),
        ("utt2label", "LA_T_1 bona-fide\n", "utt2label:1: LA_T_1 has 'bona-fide'"),
        ("utt2attack", "LA_T_1 A01\n", "utt2attack:1: LA_T_1 has 'A01', expected '-' for bona fide"),
        ("utt2speaker", "LA_T_1 nan\n", "utt2speaker:1: .* one printable word"),
        ("utt2speaker", "LA_T_1 two words\n", "utt2speaker:1: .* one printable word"),
        ("utt2num_samples", "LA_T_1 1_000\n", "utt2num_samples:1: LA_T_1 has '1_000'"),
        ("utt2num_samples", "LA_T_1 NaN\n", "utt2num_samples:1: LA_T_1 has 'NaN'"),
    ],
)
def test_fault_07_what_makes_numbers_wrong_is_refused_by_validating_and_by_reading(data, file, content, told):
    """All have one rule, so that none is read that validation refuses for what it means."""
    data.subset(["LA_T_1"]).write()
    key = content.strip("\n").split(" ")[0]  # the same in all files
    for path in data.path.iterdir():
        edit(path, "LA_T_1 ", f"{key} ")
    (data.path / file).write_text(content, encoding="utf-8")
    assert any(re.search(told, problem) for problem in find_problems(data.path))
    with pytest.raises(AsvtkError, match=told):
        DataDirectory.read(data.path)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda text: b"\xef\xbb\xbf" + text, "utt2speaker:1: begins with a byte order mark"),
        (lambda text: text.replace(b"\n", b"\r\n"), "utt2speaker:1: the line ends in a carriage return"),
        (lambda text: text + b"\n \n", "utt2speaker:4: the line is blank"),
        (gzip.compress, "utt2speaker: is compressed"),
    ],
)
def test_fault_07_a_byte_order_mark_makes_no_second_speaker(data, change, told):
    """What Kaldi's tools would stumble over is read as it is meant, told by validation, and mended."""
    path = data.path / "utt2speaker"
    path.write_bytes(change(path.read_bytes()))
    assert set(DataDirectory.read(data.path).speaker.values()) == {"LA_0079"}
    (problem,) = find_problems(data.path)
    assert told in problem and "utils/fix_data_dir.sh" in problem
    utils = Path(__file__).parents[2] / "utils"
    result = subprocess.run(
        [utils / "validate_data_dir.sh", "--no-text", "--no-feats", data.path], capture_output=True
    )
    assert result.returncode == 1 and told in result.stderr.decode()
    subprocess.run([utils / "fix_data_dir.sh", data.path], check=True, capture_output=True)
    assert find_problems(data.path) == []


def test_tables_hold_what_they_give_back(tmp_path):
    table = {"a": "one\u00a0 two\u2028three\x0cfour\x85", "b\u00a0c": "x  y"}
    write_table(tmp_path / "t", table)
    assert read_table(tmp_path / "t") == table
    for wrong in ({"a b": "x"}, {"a": "x\ny"}, {"a": "x "}, {"a": ""}, {"a": "x\udcff"}, {"a\r": "x"}):
        with pytest.raises(AsvtkError, match="t: cannot hold"):
            write_table(tmp_path / "t", wrong)
    assert read_table(tmp_path / "t") == table
    (tmp_path / "t").write_bytes(b"a x\nb caf\xe9\n")
    with pytest.raises(AsvtkError, match="t:2: is not UTF-8"):
        read_table(tmp_path / "t")


def test_a_fault_of_every_line_is_told_in_a_few(data):
    fakes = "".join(f"LA_T_{number} fake\n" for number in range(100, 200))
    (data.path / "utt2label").write_text(fakes)
    problems = [problem for problem in find_problems(data.path) if "fake" in problem or "more" in problem]
    assert len(problems) == 6 and problems[-1].endswith("and 95 more lines like these")


def test_reading_what_does_not_agree_points_to_validate(data):
    edit(data.path / "utt2label", "LA_T_2 spoof\n", "")
    with pytest.raises(AsvtkError, match="asvtk validate .*/train' says where"):
        DataDirectory.read(data.path)


def test_reading_what_is_not_there_says_stage_1(tmp_path):
    with pytest.raises(AsvtkError, match="run stage 1 first"):
        DataDirectory.read(tmp_path / "none")


@pytest.mark.skipif(shutil.which("sort") is None, reason="needs sort")
def test_order_is_that_of_sort_in_the_c_locale(data):
    subprocess.run(["sort", "-c", data.path / "wav.scp"], env={"LC_ALL": "C"}, check=True)


def test_subset_and_union(data):
    first, others = data.subset(["LA_T_2"]), data.subset(["LA_T_3", "LA_T_1"])
    assert others.utterances == ["LA_T_1", "LA_T_3"] and others.count_classes() == (1, 1)
    both = DataDirectory.union([first, others])
    assert both == data and both.digest() == data.digest() and list(both.md5) == data.utterances
    with pytest.raises(AsvtkError, match="LA_T_2 is also in .*; the data directory is named twice"):
        DataDirectory.union([data, first])
    other = replace(first, path=first.path.with_name("other"))
    with pytest.raises(
        AsvtkError, match=r"other: LA_T_2 is .*copy_data_dir.sh --utt-prefix other- .*other DIR"
    ):
        DataDirectory.union([data, other])


def test_columns_of_a_set_of_its_parts_and_of_some_of_it(data):
    write_table(data.path / "utt2codec", dict(zip(data.utterances, ["mp3", "ogg", "mp 3"], strict=True)))
    assert data.column("codec") == {"LA_T_1": "mp3", "LA_T_2": "ogg", "LA_T_3": "mp 3"}
    (data.path / "utt2codec").unlink()
    assert data.column("codec")["LA_T_2"] == "ogg"  # read once
    other = replace(data.subset(["LA_T_2"]), path=data.path.with_name("other"))
    other.path.mkdir()
    write_table(other.path / "utt2codec", {"LA_T_2": "x", "LA_T_9": "y"})
    both = DataDirectory.union([data.subset(["LA_T_1", "LA_T_3"]), other])
    assert (
        both == data
        and both.name == "train+other"
        and [part.name for part in both.parts] == ["train", "other"]
    )
    assert list(both.column("corpus").items()) == [
        ("LA_T_1", "train"),
        ("LA_T_2", "other"),
        ("LA_T_3", "train"),
    ]
    assert both.column("attack") is both.attack and both.column("label") is both.label
    some = both.subset(["LA_T_1", "LA_T_2"])
    assert some.column("corpus") == {"LA_T_1": "train", "LA_T_2": "other"}
    write_table(data.path / "utt2codec", dict.fromkeys(data.utterances, "mp3"))
    assert some.column("codec") == {"LA_T_1": "mp3", "LA_T_2": "x"}
    assert data.parts == (data,) and data.column("corpus") == dict.fromkeys(data.utterances, "train")


def test_columns_that_are_not_there(data):
    with pytest.raises(AsvtkError, match="train/utt2codec: no such file: it would say the 'codec' of each"):
        data.column("codec")
    write_table(data.path / "utt2codec", {"LA_T_1": "mp3"})
    with pytest.raises(AsvtkError, match="utt2codec: has no line for 2 of 2 utterances, the first: LA_T_2"):
        DataDirectory.union([data.subset(["LA_T_1"]), data.subset(["LA_T_2", "LA_T_3"])]).column("codec")
    with pytest.raises(AsvtkError, match="utt2codec: has no line for 2 of 3 utterances, the first: LA_T_2"):
        data.column("codec")


def test_data_directories_of_one_name_are_refused(data):
    other = replace(data, path=data.path.parent / "wild" / "train")
    refuse_same_names([data, data, replace(data, path=data.path.with_name("dev"))])
    with pytest.raises(
        AsvtkError, match=r"train and .*wild/train: two .* called 'train'; .*/wild/wild-train$"
    ):
        refuse_same_names([data, other])
