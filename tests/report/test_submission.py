"""Leaderboard files: what stands in them, their check sum, and what has to be told."""

import hashlib
import zipfile

import pytest
import yaml

from asvtk.bin.main import main
from asvtk.io.scores import read_scores


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "eval.txt"
    path.write_text("a - bonafide 2.5\nb A01 spoof -1\nc A01 spoof 0.1\nd - bonafide 1e-20\n")
    return path


def submit(form, scores, tmp_path, *options):
    return main(["submit", "--format", form, "--scores", str(scores), "--out", str(tmp_path / "s"), *options])


def test_arena(scores, tmp_path, capsys):
    meta = tmp_path / "meta.yaml"
    meta.write_text(
        "system: {name: Mine, slug: mine, params_millions: 0.3}\n"
        "dataset: {id: SpeechAntiSpoofingBenchmarks/InTheWild, revision: abc, split: test}\n"
    )
    assert submit("arena", scores, tmp_path, "--meta", str(meta)) == 0
    text = (tmp_path / "s" / "scores.txt").read_bytes()
    assert text == b"a 2.5\nb -1.0\nc 0.1\nd 1e-20\n"
    found = yaml.safe_load((tmp_path / "s" / "submission.yaml").read_text())
    assert found["schema_version"] == 4 and found["reproduction"] == {}
    assert found["artifact"]["scores_sha256"] == hashlib.sha256(text).hexdigest()
    assert found["scores"] == {"eer_percent": 50.0, "n_trials": 4, "n_skipped": "<n_skipped>"}
    assert found["system"]["slug"] == "mine" and found["system"]["params_millions"] == 0.3
    assert found["system"]["code"] == "<code>" and found["submitter"]["contact"] == "<contact>"
    assert "still to be filled in: system.description, system.code" in capsys.readouterr().out


@pytest.mark.parametrize(
    "form, name, text",
    [
        ("asvspoof5", "score.tsv", "filename\tcm-score\na\t2.5\nb\t-1.0\nc\t0.1\nd\t1e-20\n"),
        ("codalab", "score.txt", "a 2.5\nb -1.0\nc 0.1\nd 1e-20\n"),
    ],
)
def test_organisers(form, name, text, scores, tmp_path):
    assert submit(form, scores, tmp_path) == 0
    assert (tmp_path / "s" / name).read_text() == text
    first = (tmp_path / "s" / "score.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "s" / "score.zip") as file:
        assert file.namelist() == [name] and file.read(name).decode() == text
    assert submit(form, scores, tmp_path) == 0 and (tmp_path / "s" / "score.zip").read_bytes() == first
    back = read_scores(tmp_path / "s" / name)
    assert back.utterances.tolist() == ["a", "b", "c", "d"] and back.scores[3] == 1e-20


def test_prefixes_go_and_what_was_left_out_is_counted(tmp_path):
    (tmp_path / "eval.txt").write_text("itw-a - bonafide 2.5\nitw-b A01 spoof -1\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "utt2label").write_text("itw-a bonafide\nitw-b spoof\n")
    (data / "skipped").write_text("itw-c itw-c.wav: no such file\n")
    assert submit("arena", tmp_path / "eval.txt", tmp_path, "--data", str(data), "--utt-prefix", "itw-") == 0
    assert (tmp_path / "s" / "scores.txt").read_text() == "a 2.5\nb -1.0\n"
    assert yaml.safe_load((tmp_path / "s" / "submission.yaml").read_text())["scores"]["n_skipped"] == 1


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("system: {name: x}\nsytem: {}\n", [], "unknown section 'sytem'; there are: system, dataset"),
        ("system: x\n", [], "system: expected 'key: value' lines"),
        ("artifact: {scores_url: 'https://h/o/r/resolve/main/scores.txt'}\n", [], "names a branch"),
        ("", ["--protocol"], "1 of its 5 trials have no score: e"),
    ],
)
def test_what_does_not_fit(content, options, message, scores, tmp_path, capsys):
    meta = tmp_path / "meta.yaml"
    meta.write_text(content or "notes: none\n")
    if options:
        (tmp_path / "key.txt").write_text("a bonafide\nb spoof\nc spoof\nd bonafide\ne spoof\n")
        options = ["--protocol", str(tmp_path / "key.txt")]
    assert submit("arena", scores, tmp_path, "--meta", str(meta), *options) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "s" / "submission.yaml").exists()
