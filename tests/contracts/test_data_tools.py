"""What a Kaldi user expects of the data-directory tools, and Kaldi's defects that they do not share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[2] / "utils"
OURS = ("utt2label", "utt2attack", "utt2speaker", "utt2md5", "utt2num_samples")


@pytest.fixture(autouse=True)
def bare_python(tmp_path_factory, monkeypatch):
    """The tools' python3 has nothing installed."""
    folder = tmp_path_factory.getbasetemp() / "bare_python"
    folder.mkdir(exist_ok=True)
    (folder / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (folder / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def tool(name, *words):
    """The tool's result; it is run as from a shell."""
    command = [UTILS / f"{name}.sh", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def done(name, *words):
    result = tool(name, *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(name, *words, told):
    result = tool(name, *words)
    assert result.returncode == 1 and told in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith(f"{name}.sh: ")


def table(path):
    return dict(line.split(" ", 1) for line in Path(path).read_text().splitlines())


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


def make(folder, count=10, first=0):
    """A sound data directory of ours: identity utt2spk, two true speakers, spoof every third utterance."""
    folder.mkdir(parents=True)
    names = [f"LA_T_{1000 + number}" for number in range(first, first + count)]
    spoof = [number % 3 == 0 for number in range(count)]
    (folder / "audio").mkdir()
    for name in names:
        (folder / "audio" / f"{name}.flac").touch()
    values = {
        "wav.scp": [str(folder / "audio" / f"{name}.flac") for name in names],
        "utt2spk": names,
        "spk2utt": names,
        "utt2label": ["spoof" if is_spoof else "bonafide" for is_spoof in spoof],
        "utt2attack": ["A01" if is_spoof else "-" for is_spoof in spoof],
        "utt2speaker": [f"LA_{number % 2}" for number in range(count)],
        "utt2md5": [f"{number:032x}" for number in range(first, first + count)],
        "utt2num_samples": [str(1000 - number) for number in range(count)],
    }
    for name, column in values.items():
        write(folder / name, [f"{key} {value}" for key, value in zip(names, column, strict=True)])
    write(folder / "attack2kind", ["A01 TTS"])
    write(folder / "asv_scores", ["LA_0 target 1.5"])
    return names


def make_kaldi(folder, count=6):
    """A directory as Kaldi's recipes make them: speaker-prefixed ids, segments, text."""
    folder.mkdir(parents=True)
    names = [f"s{number // 3}-u{number}" for number in range(count)]
    write(folder / "utt2spk", [f"{name} {name[:2]}" for name in names])
    write(folder / "spk2utt", [f"{s} {' '.join(n for n in names if n[:2] == s)}" for s in ("s0", "s1")])
    write(folder / "text", [f"{name} some words" for name in names])
    write(folder / "segments", [f"{name} reco{number // 2} 0.0 1.5" for number, name in enumerate(names)])
    write(folder / "wav.scp", [f"reco{number} /audio/{number}.wav" for number in range(count // 2)])
    write(folder / "reco2dur", [f"reco{number} 60" for number in range(count // 2)])
    write(folder / "cmvn.scp", ["s0 cmvn.ark:3", "s1 cmvn.ark:99"])
    return names


@pytest.fixture
def data(tmp_path):
    """Ours, beside the folder of audio that it names."""
    make(tmp_path / "train")
    (tmp_path / "train" / "audio").rename(tmp_path / "audio")
    path = tmp_path / "train" / "wav.scp"
    path.write_text(path.read_text().replace("/train/audio/", "/audio/"))
    return tmp_path / "train"


@pytest.fixture
def kaldi(tmp_path):
    make_kaldi(tmp_path / "kaldi")
    return tmp_path / "kaldi"


def is_sound(folder):
    done("validate_data_dir", "--no-text", "--no-feats", folder)
    return all(table(folder / name).keys() == table(folder / "wav.scp").keys() for name in OURS)


def fits(part, whole):
    """Has every table of ``part`` the lines of ``whole`` for its utterances, and every file of it?"""
    assert {path.name for path in part.iterdir()} == {p.name for p in whole.iterdir() if p.is_file()}
    for name in (*OURS, "wav.scp", "utt2spk", "spk2utt"):
        assert table(part / name).items() <= table(whole / name).items()
        assert table(part / name).keys() == table(part / "utt2spk").keys()
    assert (part / "asv_scores").read_text() == (whole / "asv_scores").read_text()
    return True


# ---- all tools


NAMES = (
    "validate_data_dir",
    "fix_data_dir",
    "split_data",
    "subset_data_dir",
    "copy_data_dir",
    "combine_data",
)


@pytest.mark.parametrize("name", NAMES)
def test_misuse_is_one_line_and_help_goes_to_stdout(name, tmp_path):
    assert f"usage: {name}.sh" in done(name, "--help")
    refused(name, told="expected")
    refused(name, "--bogus", "1", "x", told="invalid option --bogus")


@pytest.mark.parametrize(
    "words",
    [
        ("fix_data_dir", "none"),
        ("split_data", "none", 2),
        ("subset_data_dir", "none", 2, "out"),
        ("copy_data_dir", "none", "out"),
        ("combine_data", "out", "none"),
        ("validate_data_dir", "none"),
    ],
)
def test_a_directory_that_is_not_there(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*words, told="none: no such")
    assert os.listdir() == []


def test_the_folder_a_tool_is_called_in_does_not_matter(data, monkeypatch, tmp_path):
    # Modules of these names in the current folder must not be taken for Python's or ours.
    for name in ("copy", "asvtk", "datadir", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    done("copy_data_dir", "train", "again")
    assert is_sound(Path("again"))


# ---- validate


def test_a_sound_directory(data, kaldi):
    said = done("validate_data_dir", "--no-text", "--no-feats", data)
    assert said.endswith(f"Successfully validated data-directory {data}\n")
    done("validate_data_dir", "--no-feats", kaldi)
    done("validate_data_dir", kaldi, "--no-feats")  # options on both sides


@pytest.mark.parametrize(
    "name, old, new, told",
    [
        ("utt2spk", "LA_T_1003 LA_T_1003", "LA_T_1003", "utt2spk:4: expected 'key value'"),  # Kaldi exits 0
        ("utt2spk", "LA_T_1003 LA_T_1003\n", "", "alone has 1 utterances, first LA_T_1003"),
        ("utt2label", "LA_T_1003 spoof\n", "", "utt2label: lacks 1 utterances, first LA_T_1003"),
        ("utt2label", "LA_T_1003 spoof", "LA_T_1003 fake", "utt2label:4: LA_T_1003 has 'fake'"),
        ("utt2attack", "LA_T_1003 A01", "LA_T_1003 -", "utt2attack:4"),
        ("utt2md5", "LA_T_1003", "LA_T_0003", "not in LC_ALL=C order"),
        ("wav.scp", "LA_T_1003 ", "LA_T_1002 ", "stands here for the second time"),
        ("spk2utt", "LA_T_1003 LA_T_1003\n", "", "spk2utt: does not fit utt2spk"),
        ("utt2speaker", "LA_T_1009 LA_1\n", "LA_T_1009 LA_1", "no newline"),
    ],
)
def test_what_is_wrong_is_named_and_the_status_is_1(data, name, old, new, told):
    text = (data / name).read_text()
    assert old in text
    (data / name).write_text(text.replace(old, new, 1))
    result = tool("validate_data_dir", "--no-text", "--no-feats", data)
    assert result.returncode == 1 and told in result.stderr
    assert "Success" not in result.stdout


def test_files_that_must_be_there_unless_an_option_says_no(data, kaldi):
    result = tool("validate_data_dir", data)
    assert result.returncode == 1
    assert "feats.scp: no such file" in result.stderr and "text: no such file" in result.stderr
    (kaldi / "wav.scp").unlink()
    assert tool("validate_data_dir", "--no-feats", kaldi).returncode == 1
    done("validate_data_dir", "--no-feats", "--no-wav", kaldi)


def test_speakers_in_another_order_than_utterances(kaldi):
    names = list(table(kaldi / "utt2spk"))
    write(kaldi / "utt2spk", [f"{name} t{9 - int(name[1])}" for name in names])
    write(kaldi / "spk2utt", [f"t8 {' '.join(names[3:])}", f"t9 {' '.join(names[:3])}"])
    refused("validate_data_dir", "--no-feats", kaldi, told="utt2speaker")
    done("validate_data_dir", "--no-feats", "--no-spk-sort", kaldi)


# ---- fix


def test_fix_sorts_intersects_and_keeps_the_old_files(data):
    before = (data / "utt2label").read_text()
    lines = before.splitlines()
    write(data / "utt2label", [*lines[::-1], lines[0]])  # unsorted, one line twice
    write(data / "wav.scp", (data / "wav.scp").read_text().splitlines()[:-2])
    said = done("fix_data_dir", data)
    assert "fix_data_dir.sh: kept 8 utterances out of 10" in said
    assert is_sound(data) and len(table(data / "utt2md5")) == 8
    assert (data / ".backup" / "utt2label").read_text().splitlines() == [*lines[::-1], lines[0]]
    assert "kept 8 utterances out of 8\n" in done("fix_data_dir", data)


def test_fix_of_a_sound_directory_changes_nothing(data):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.iterdir()}
    done("fix_data_dir", data)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.iterdir()} == before


def test_fix_refuses_to_leave_nothing(data):
    before = {path: path.read_bytes() for path in data.iterdir()}
    write(data / "wav.scp", ["other /x.flac"])
    before[data / "wav.scp"] = (data / "wav.scp").read_bytes()
    refused("fix_data_dir", data, told="nothing was changed")
    assert {path: path.read_bytes() for path in data.iterdir()} == before


def test_fix_with_segments_follows_recordings_and_speakers(kaldi):
    write(kaldi / "wav.scp", ["reco0 /audio/0.wav", "reco1 /audio/1.wav"])
    write(kaldi / "cmvn.scp", ["s0 cmvn.ark:3"])
    done("fix_data_dir", kaldi)
    assert list(table(kaldi / "utt2spk")) == ["s0-u0", "s0-u1", "s0-u2"]
    assert list(table(kaldi / "reco2dur")) == ["reco0", "reco1"]
    done("validate_data_dir", "--no-feats", kaldi)


def test_fix_does_not_choose_between_two_values(data):
    with open(data / "utt2label", "a") as stream:
        stream.write("LA_T_1000 bonafide\n")
    refused("fix_data_dir", data, told="utt2label:11: LA_T_1000 has another value")


# ---- split


@pytest.mark.parametrize("options, folder", [([], "split3"), (["--per-utt"], "split3utt")])
def test_split_makes_whole_parts(data, options, folder):
    done("split_data", *options, data, 3)
    parts = [data / folder / str(number) for number in (1, 2, 3)]
    assert all(fits(part, data) and is_sound(part) for part in parts)
    keys = [list(table(part / "utt2label")) for part in parts]
    assert sum(keys, []) == list(table(data / "utt2label"))  # neighbours, each once
    assert sorted(map(len, keys)) == [3, 3, 4]


def test_split_keeps_a_speaker_together_unless_told_otherwise(kaldi):
    done("split_data", kaldi, 2)
    assert list(table(kaldi / "split2" / "1" / "utt2spk")) == ["s0-u0", "s0-u1", "s0-u2"]
    assert list(table(kaldi / "split2" / "2" / "wav.scp")) == ["reco1", "reco2"]
    assert list(table(kaldi / "split2" / "2" / "cmvn.scp")) == ["s1"]
    done("validate_data_dir", "--no-feats", kaldi / "split2" / "1")
    done("split_data", "--per-utt", kaldi, 6)
    assert list(table(kaldi / "split6utt" / "2" / "text")) == ["s0-u1"]


def test_split_is_renewed_when_any_file_has_changed_and_not_else(data):
    """Kaldi compares dates, and those of some files only: a stale utt2dur stayed."""
    done("split_data", data, 2)
    stamp = (data / "split2" / "1" / "wav.scp").stat().st_mtime_ns
    done("split_data", data, 2)
    assert (data / "split2" / "1" / "wav.scp").stat().st_mtime_ns == stamp
    text = (data / "utt2num_samples").read_text()
    (data / "utt2num_samples").write_text(text.replace("LA_T_1000 1000", "LA_T_1000 777"))
    os.utime(data / "utt2num_samples", (0, 0))
    done("split_data", data, 2)
    assert table(data / "split2" / "1" / "utt2num_samples")["LA_T_1000"] == "777"


def test_more_parts_than_there_are_utterances(data, kaldi):
    done("split_data", data, 10)
    refused("split_data", data, 11, told="too few for 11 parts; use a smaller nj")
    refused("split_data", kaldi, 3, told="2 speakers")
    assert not (data / "split11").exists()
    refused("split_data", data, 0, told="whole number")


# ---- subset


@pytest.mark.parametrize(
    "options, count, kept",
    [
        ([], 4, [0, 2, 5, 7]),
        (["--first"], 3, [0, 1, 2]),
        (["--last"], 3, [7, 8, 9]),
        (["--shortest"], 2, [8, 9]),
        (["--per-spk"], 2, [0, 1, 4, 5]),
        (["--per-spk"], 9, list(range(10))),
        ([], 10, list(range(10))),
    ],
)
def test_subset(data, options, count, kept):
    out = data.parent / "out"
    done("subset_data_dir", *options, data, count, out)
    assert list(table(out / "wav.scp")) == [f"LA_T_{1000 + number}" for number in kept]
    assert fits(out, data) and is_sound(out)


def test_subset_of_whole_speakers_is_the_same_each_time(data):
    for name in ("a", "b"):
        done("subset_data_dir", "--speakers", data, 3, data.parent / name)
    speakers = table(data.parent / "a" / "utt2speaker")
    assert speakers == table(data.parent / "b" / "utt2speaker")
    assert len(set(speakers.values())) == 1 and len(speakers) == 5


def test_subset_by_lists(data, tmp_path):
    write(tmp_path / "list", ["LA_T_1005 anything", "LA_T_1001", "nobody"])
    done("subset_data_dir", "--utt-list", tmp_path / "list", data, tmp_path / "out")
    assert list(table(tmp_path / "out" / "utt2label")) == ["LA_T_1001", "LA_T_1005"]
    write(tmp_path / "list", ["LA_1"])
    done("subset_data_dir", "--spk-list", tmp_path / "list", data, tmp_path / "out")
    assert set(table(tmp_path / "out" / "utt2speaker").values()) == {"LA_1"}
    assert is_sound(tmp_path / "out")


def test_subset_misuse(data, tmp_path):
    out = tmp_path / "out"
    refused("subset_data_dir", data, 11, out, told="has 10 utterances, not 11")
    refused("subset_data_dir", "--first", "--last", data, 1, out, told="exclude each other")
    refused("subset_data_dir", "--utt-list", tmp_path / "none", data, out, told="none: no such file")
    write(tmp_path / "list", ["nobody"])
    refused("subset_data_dir", "--utt-list", tmp_path / "list", data, out, told="names nothing")
    assert not out.exists()


# ---- copy


def test_copy_is_the_same_directory(data, tmp_path):
    (data / ".done").write_text("{}")  # says that this very folder is finished
    done("copy_data_dir", data, tmp_path / "out")
    for path in data.iterdir():
        if path.name != ".done":
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / "out" / ".done").exists()


@pytest.mark.parametrize(
    "form", [["--utt-prefix", "n-", "--spk-prefix", "n-"], ["--utt_prefix=n-", "--spk-prefix=n-"]]
)
def test_copy_with_prefixes(data, tmp_path, form):
    out = tmp_path / "out"
    done("copy_data_dir", *form, "--utt-suffix", ".x", data, out)
    assert is_sound(out)
    assert table(out / "utt2speaker")["n-LA_T_1001.x"] == "n-LA_1"
    assert table(out / "utt2spk")["n-LA_T_1001.x"] == "n-LA_T_1001.x"  # still the identity
    assert table(out / "utt2label")["n-LA_T_1000.x"] == "spoof"
    assert table(out / "utt2uniq")["n-LA_T_1001.x"] == "LA_T_1001"  # Kaldi moves it to .backup
    done("copy_data_dir", "--utt-prefix", "m-", out, tmp_path / "again")
    assert table(tmp_path / "again" / "utt2uniq")["m-n-LA_T_1001.x"] == "LA_T_1001"


def test_copy_with_a_prefix_renames_ids_in_every_file(data, tmp_path):
    """Of all files that asvtk reads, and of those with a further column."""
    sources = {u: "LA_T_1001" if u == "LA_T_1000" else "-" for u in table(data / "utt2spk")}
    write(data / "utt2source", [f"{u} {source}" for u, source in sources.items()])
    write(data / "utt2codec", [f"{u} mp3" for u in sources])
    done("copy_data_dir", "--utt-prefix", "n-", data, tmp_path / "out")
    assert is_sound(tmp_path / "out")
    names = {path.name for path in data.iterdir() if path.name.startswith("utt2")}
    assert {"utt2source", "utt2codec", "utt2md5", "utt2num_samples"} <= names
    for name in names | {"wav.scp", "spk2utt"}:
        assert set(table(tmp_path / "out" / name)) == {f"n-{u}" for u in sources}, name
    assert table(tmp_path / "out" / "utt2source")["n-LA_T_1000"] == "n-LA_T_1001"
    assert table(tmp_path / "out" / "utt2source")["n-LA_T_1001"] == "-"


def test_vocoded_spoofs_stay_known_when_sets_are_combined(data, tmp_path):
    vocoded = tmp_path / "vocoded"
    make(vocoded, count=1, first=50)
    write(vocoded / "utt2source", ["LA_T_1050 LA_T_1001"])
    done("combine_data", tmp_path / "both", data, vocoded)
    assert is_sound(tmp_path / "both")
    sources = table(tmp_path / "both" / "utt2source")
    assert sources["LA_T_1050"] == "LA_T_1001" and set(sources.values()) == {"-", "LA_T_1001"}


def test_copy_of_a_kaldi_directory_renames_speakers_but_no_recordings(kaldi, tmp_path):
    out = tmp_path / "out"
    done("copy_data_dir", "--utt-prefix", "n-", "--spk-prefix", "n-", kaldi, out)
    assert table(out / "utt2spk")["n-s0-u0"] == "n-s0"
    assert table(out / "segments")["n-s0-u0"].startswith("reco0 ")
    assert (out / "wav.scp").read_text() == (kaldi / "wav.scp").read_text()
    assert list(table(out / "cmvn.scp")) == ["n-s0", "n-s1"]
    done("validate_data_dir", "--no-feats", out)


# ---- combine


@pytest.fixture
def dev(tmp_path):
    make(tmp_path / "dev", count=4, first=500)
    (tmp_path / "dev" / "audio").rename(tmp_path / "audio_dev")
    path = tmp_path / "dev" / "wav.scp"
    path.write_text(path.read_text().replace("/dev/audio/", "/audio_dev/"))
    return tmp_path / "dev"


def test_combine_keeps_all_labels(data, dev, tmp_path):
    out = tmp_path / "out"
    write(data / "utt2dur", [f"{key} 1.0" for key in table(data / "utt2spk")])
    said = done("combine_data", "--extra-files", "utt2label", out, data, dev)
    assert "left out, because not all have it or they differ: utt2dur\n" in said
    assert is_sound(out) and not (out / "utt2dur").exists()
    assert table(out / "utt2label") == table(data / "utt2label") | table(dev / "utt2label")
    assert (out / "attack2kind").read_text() == "A01 TTS\n"


def test_combine_leaves_out_scores_that_differ(data, dev, tmp_path):
    write(dev / "asv_scores", ["LA_0 target 2.5"])
    assert "asv_scores" in done("combine_data", tmp_path / "out", data, dev)
    assert not (tmp_path / "out" / "asv_scores").exists()


def test_combine_does_not_throw_away_what_is_there(data, dev, tmp_path):
    """Kaldi begins with rm -r DEST."""
    precious = tmp_path / "precious"
    precious.mkdir()
    write(precious / "thesis.tex", ["x"])
    refused("combine_data", precious, data, dev, told="holds other things")
    refused("combine_data", data, data, dev, told="cannot be joined too")
    refused("combine_data", tmp_path / "out", data, data, told="stand in another of the directories too")
    (dev / "utt2label").write_text("broken\n")
    done("copy_data_dir", data, tmp_path / "kept")
    refused("combine_data", tmp_path / "kept", data, dev, told="expected 'key value'")
    assert is_sound(tmp_path / "kept") and is_sound(data)
    assert os.listdir(precious) == ["thesis.tex"]


def test_a_read_only_place_is_one_line(data):
    refused("copy_data_dir", data, "/proc/out", told="cannot be written")
