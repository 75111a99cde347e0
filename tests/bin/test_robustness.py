"""asvtk robustness: a model, a data directory, a grid -> copies, scores, table and page, in one command."""

import json

import pytest

from asvtk.bin.main import main
from asvtk.io.scores import read_scores


@pytest.fixture
def command(trained, tmp_path):
    (tmp_path / "g.yaml").write_text("MP3: [mp3:64k, mp3:16k]\nline: [[telephone, noise:10]]\n")
    words = ["robustness", "--model", trained / "exp", "--data", trained / "data" / "eval"]
    return [*map(str, words), "--grid", str(tmp_path / "g.yaml"), "--out", str(tmp_path / "out"), "--nj", "2"]


def test_one_command_makes_scores_and_tabulates_and_goes_on(command, trained, tmp_path, capsys):
    dev = ["--dev", str(trained / "data" / "dev")]
    out, scores = tmp_path / "out", tmp_path / "out" / "scores"
    assert main([*command, *dev]) == 0
    said = capsys.readouterr().out
    assert "telephone noise:10" in said and "ROBUSTNESS.html" in said
    names = ["dev", "eval", "eval_mp3-16k", "eval_mp3-64k", "eval_telephone_noise-10"]
    assert sorted(path.stem for path in scores.glob("*.txt")) == names
    written = {path: path.stat().st_mtime_ns for path in scores.glob("*.txt")}
    before = (scores / "eval_mp3-16k.txt").read_bytes()
    (scores / ".eval_mp3-16k.done").unlink()  # as a killed run leaves it
    assert main([*command, *dev]) == 0 and capsys.readouterr().out == said
    again = {path.stem for path, time in written.items() if path.stat().st_mtime_ns != time}
    assert again == {"eval_mp3-16k"} and (scores / "eval_mp3-16k.txt").read_bytes() == before
    (system,) = json.loads((out / "ROBUSTNESS.json").read_text())["systems"]
    assert system["original"][0]["frr"] is not None and len(system["copies"]) == 3


def test_without_a_threshold_there_is_the_eer(command, trained, tmp_path, capsys):
    copies = ["--copies-in", str(tmp_path / "elsewhere")]
    assert main([*command, *copies]) == 0
    said = capsys.readouterr().out
    assert "–" in said
    assert "There is no threshold" in (tmp_path / "out" / "ROBUSTNESS.md").read_text()
    assert (tmp_path / "elsewhere" / "eval_mp3-16k").is_dir() and not (tmp_path / "out" / "data").exists()


def test_shares_of_jobs_are_all_copies(command, trained, tmp_path, capsys):
    folder = tmp_path / "made"
    made = ["perturb", *command[3:5], *command[5:7], "--out", str(folder)]
    assert main(made) == 0
    (folder / "eval_mp3-64k" / "wav.scp").unlink()  # a copy that could not be made
    for job, status in ((1, 1), (2, 0)):
        words = [*command[:1], "score", *command[1:7], "--copies-in", str(folder)]
        words += ["--out", str(tmp_path / "scores"), "--job", str(job), "--nj", "2"]
        assert main(words) == status
    assert "eval_mp3-64k" in capsys.readouterr().err
    names = sorted(path.stem for path in (tmp_path / "scores").glob("*.txt"))
    assert names == ["eval_mp3-16k", "eval_telephone_noise-10"]
    assert len(read_scores(tmp_path / "scores" / "eval_mp3-16k.txt").utterances) == 10


def test_a_dev_set_of_the_same_name_is_refused(command, trained, capsys):
    assert main([*command, "--dev", str(trained / "data" / "eval")]) == 2
    assert "name another set" in capsys.readouterr().err
