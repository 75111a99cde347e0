"""Data directories: the round trip, and every fault that validate must find."""

import shutil
import subprocess

import pytest

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.errors import AsvtkError


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


def test_validate_says_so(data, capsys):
    assert main(["validate", str(data.path)]) == 0
    assert "Successfully validated data-directory" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file, old, new, problem",
    [
        ("utt2label", "LA_T_2 spoof\n", "", r"utt2label: 1 utterances of wav.scp are missing, first LA_T_2"),
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
    import re

    assert re.search(problem, capsys.readouterr().err)


def test_missing_file_is_found(data):
    (data.path / "utt2attack").unlink()
    assert find_problems(data.path) == [f"{data.path}/utt2attack: no such file"]


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
    with pytest.raises(AsvtkError, match="LA_T_2 is also in"):
        DataDirectory.union([data, first])
