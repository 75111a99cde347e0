"""asvtk score: the two ways in, and scores with published weights."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import soundfile
from tiny_corpus import prepare_split

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory
from asvtk.io.scores import read_scores
from asvtk.training.checkpoint import read_tensors, write_tensors

PUBLISHED = ["--system", "aasist", "--weights", "w.pth", "--out", "scores.txt"]
EXPERIMENT = ["--exp", "exp", "--dump", "dump"]


def error_of(capsys, *argv):
    """The one line that a refused command says."""
    assert main(["score", *argv]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("asvtk score: error: ")
    return lines[0]


@pytest.mark.parametrize(
    "options, found",
    [
        ([], "found neither"),
        (EXPERIMENT[:2], "found --exp"),
        (EXPERIMENT + PUBLISHED[4:], "found --dump --exp --out"),
    ],
)
def test_options_are_those_of_one_way_and_all_of_them(options, found, capsys):
    said = error_of(capsys, "--data", "data/eval", *options)
    assert "expected --model (a packed model, an experiment or published weights) with --audio" in said
    assert said.endswith(found)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--data", "dev", "eval", *PUBLISHED], "--model: takes one data directory, and --out FILE"),
        (["--data", "eval", "--force", *PUBLISHED], "--force does not go with --model"),
        (["--data", "eval", *EXPERIMENT, *PUBLISHED], "--exp does not go with --model"),
        (["--data", "eval", *PUBLISHED[:2]], "--system and --weights go together"),
        (["--data", "eval", "--ngpu", "2", *PUBLISHED], "--ngpu 2: expected 0"),
        (["--data", ".", *PUBLISHED], "wav.scp"),
        (["--data", "eval", *EXPERIMENT], "exp/config.yaml: nothing was trained here"),
    ],
)
def test_what_is_impossible_is_told_in_one_line(options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()  # one that is missing would be told first, before torch is imported
    assert message in error_of(capsys, *options)


def test_unknown_system_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["score", "--data", "d", "--system", "rawnet", "--weights", "w", "--out", "o"])
    assert ended.value.code == 2 and "invalid choice: 'rawnet'" in capsys.readouterr().err


def test_published_weights_give_the_authors_scores(shared_data, tmp_path, capsys):
    data = prepare_split(shared_data / "la_real" / "LA", "dev", tmp_path / "dev")
    lengths = sorted((length, utterance) for utterance, length in data.num_samples.items())
    chosen = sorted(utterance for _, utterance in (lengths[0], lengths[-1]))  # one is repeated, one cut
    tables = (data.wav, data.speaker, data.label, data.attack, data.num_samples, data.md5)
    few = DataDirectory(tmp_path / "few", *({u: table[u] for u in chosen} for table in tables))
    few.write()
    weights, out = str(shared_data / "aasist" / "AASIST-L.pth"), tmp_path / "folder" / "scores.txt"
    options = ["--system", "aasist", "--weights", weights, "--data", str(few.path), "--out", str(out)]
    assert main(["score", *options]) == 0
    assert capsys.readouterr().out == f"{out}: 2 trials; higher = bona fide\n"
    found, expected = read_scores(out), read_scores(shared_data / "aasist" / "scores.AASIST-L.dev.txt")
    rows = [expected.utterances.tolist().index(utterance) for utterance in chosen]
    assert found.utterances.tolist() == chosen
    np.testing.assert_allclose(found.scores, expected.scores[rows], atol=1e-4)
    assert found.bonafide.tolist() == expected.bonafide[rows].tolist()
    assert found.attacks.tolist() == expected.attacks[rows].tolist()


def test_a_data_directory_whose_audio_is_gone_is_named(shared_data, tmp_path, capsys):
    audio = tmp_path / "u1.flac"
    soundfile.write(audio, np.zeros(8000), 16000, subtype="PCM_16")
    tables = [{"u1": value} for value in (str(audio), "s1", "bonafide", "-", 8000, "0" * 32)]
    DataDirectory(tmp_path / "gone", *tables).write()
    audio.unlink()
    weights = str(shared_data / "aasist" / "AASIST-L.pth")
    options = ["--system", "aasist", "--weights", weights, "--out", str(tmp_path / "scores.txt")]
    assert main(["score", "--data", str(tmp_path / "gone"), *options]) == 1
    assert f"no file has a score: {audio}: no such file" in capsys.readouterr().err
    assert not (tmp_path / "scores.txt").exists()


# ---- several jobs


@pytest.fixture
def scoring(trained, tmp_path, capsys):
    """Scores a copy of the trained experiment, in batches of 3: what a step says to the shell."""
    exp = tmp_path / "exp"
    shutil.copytree(trained / "exp", exp)
    config = exp / "config.yaml"
    config.write_text(re.sub(r"batch_size: \d+", "batch_size: 3", config.read_text()))

    def score(*words, status=0):
        given = ["--exp", exp, "--dump", trained / "dump", "--data"]
        given += [trained / "data" / "dev", trained / "data" / "eval"]
        assert main(["score", *map(str, (*words[:1], *given, *words[1:]) if words else given)]) == status
        said = capsys.readouterr()
        return said.out + said.err

    score.exp = exp
    score.files = lambda: {path.name: path.read_bytes() for path in (exp / "scores").glob("*.txt")}
    return score


@pytest.mark.parametrize("jobs", [2, 3, 4])  # dev has 3 batches and eval 4
def test_any_number_of_jobs_gives_the_same_bytes(scoring, jobs):
    scoring()
    whole = scoring.files()
    assert len(whole["dev.txt"].splitlines()) == 8 and len(whole["eval.txt"].splitlines()) == 10
    assert scoring("begin", "--nj", jobs, "--force") == f"{jobs}\n"
    assert scoring.files() == whole  # until there are others
    for job in reversed(range(1, jobs + 1)):
        scoring("job", "--nj", jobs, "--job", job)
    scoring("join", "--nj", jobs)
    assert scoring.files() == whole
    assert not list((scoring.exp / "scores").glob(".*.parts"))


def test_a_part_is_scored_once_and_what_is_missing_is_named(scoring, monkeypatch):
    assert scoring("begin", "--nj", 100) == "4\n"  # no more jobs than batches
    scoring("job", "--nj", 4, "--job", 2)
    said = scoring("join", "--nj", 4, status=1)
    assert "3 of 4 shards are missing: 1.of.4.txt, 3.of.4.txt, 4.of.4.txt; run stage 4 again" in said
    parts = sorted((scoring.exp / "scores").glob(".*.parts/*/2.of.4.txt"))
    written = [part.stat().st_mtime_ns for part in parts]
    assert len(parts) == 2 and scoring("begin", "--nj", 100) == "4\n"
    for job in (1, 2, 3, 4):  # as the array of a second run, or a job that was put back into the queue
        said = scoring("job", "--nj", 4, "--job", job)
        assert ("is there" in said) == (job == 2)
    assert [part.stat().st_mtime_ns for part in parts] == written
    scoring("join", "--nj", 4)
    assert scoring("begin", "--nj", 4) == "0\n"
    assert "up to date" in scoring("job", "--nj", 4, "--job", 1) and "up to date" in scoring(
        "join", "--nj", 4
    )


def test_the_shell_gets_a_number_alone_also_where_utterances_were_skipped(scoring, trained, tmp_path, capsys):
    dump = tmp_path / "dump"
    shutil.copytree(trained / "dump", dump)
    (scp,) = dump.glob("*/dev/layer_00/feats.scp")
    lost, _ = scp.read_text().split(maxsplit=1)
    kept = scp.read_text().splitlines(keepends=True)[1:]
    scp.write_text("".join(kept).replace(str(trained / "dump"), str(dump)))
    (scp.parents[1] / "skipped").write_text(f"{lost} cut short\n")
    words = [
        "score",
        "begin",
        "--exp",
        scoring.exp,
        "--dump",
        dump,
        "--data",
        trained / "data/dev",
        "--nj",
        2,
    ]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr()
    assert said.out == "2\n" and "1 utterances without features are left out" in said.err


def test_parts_of_another_checkpoint_do_not_count(scoring):
    scoring("job", "--nj", 2, "--job", 1)
    best = scoring.exp / "checkpoints" / "best.safetensors"
    tensors, about = read_tensors(best)
    write_tensors(best, {name: 2 * x for name, x in tensors.items()}, about)
    scoring("job", "--nj", 2, "--job", 2)
    assert "1 of 2 shards are missing: 1.of.2.txt" in scoring("join", "--nj", 2, status=1)


def test_jobs_go_with_experiments(capsys):
    assert "--nj 2: goes with begin, job and join" in error_of(
        capsys, "--data", "d", *EXPERIMENT, "--nj", "2"
    )
    assert "go with --exp" in error_of(capsys, "job", "--data", "d", *PUBLISHED)


def test_genuine_eval_clips_get_the_authors_scores(shared_data, tmp_path, capsys):
    """The authors' run of their weights on genuine ASVspoof 2019 LA clips, on a GPU: within 2e-3."""
    genuine = shared_data / "asvspoof2019_genuine"
    if not genuine.exists():
        pytest.skip(f"no genuine clips in {genuine}")
    every = prepare_split(genuine / "LA", "eval", tmp_path / "every")
    data = dataclasses.replace(every.subset(every.utterances[::4]), path=tmp_path / "eval")  # for time
    data.write()
    weights = shared_data / "aasist" / "AASIST.pth"
    words = ["--system", "aasist", "--weights", weights, "--out", tmp_path / "s.txt"]
    assert main([str(word) for word in ["score", "--data", data.path, *words]]) == 0
    found, released = read_scores(tmp_path / "s.txt"), read_scores(genuine / "scores.AASIST.released.txt")
    expected = dict(zip(released.utterances.tolist(), released.scores.tolist(), strict=True))
    assert len(every.utterances) == 37 and len(found.utterances) == 10
    assert found.scores == pytest.approx([expected[u] for u in found.utterances.tolist()], abs=2e-3)
