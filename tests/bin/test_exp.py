"""``asvtk exp``: what became of experiments, and in what they differ."""

import json
import subprocess
import sys

import pytest
import yaml

from asvtk.bin.main import main
from asvtk.training.experiment import Experiment

CONFIG = {
    "frontend": {"name": "lfcc"},
    "model": {"name": "moe_mamba", "experts": 4},
    "loss": {"name": "oc_softmax"},
    "training": {"epochs": 3, "lr": 1e-4},
    "seed": 1,
}


def write(folder, epochs=3, done=True, results=None, **changes):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | changes))
    (folder / "environment.json").write_text(json.dumps({"command": "./run.sh --corpus /db/LA --stage 3"}))
    (folder / "inputs.json").write_text(
        json.dumps({"train data": "abc", "features": "lfcc-1", "layers": [0]})
    )
    rates = [5.0, 2.5, 3.0][:epochs]
    lines = [
        {"epoch": n, "loss": 1.0, "dev_eer_percent": rate, "best_epoch": min(n, 2), "seconds": 90}
        for n, rate in enumerate(rates, 1)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if done:
        (folder / ".train.done").write_text(json.dumps({"best_dev_eer": 0.025, "best_epoch": 2}))
    if results:
        (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def folder(tmp_path):
    results = {"eval": {"eer_percent": 7.25, "min_tdcf": 0.1875}}
    write(tmp_path / "exp" / "a", results=results)
    write(tmp_path / "exp" / "b", epochs=1, done=False, seed=2, model={"name": "moe_mamba", "experts": 8})
    (tmp_path / "exp" / "report").mkdir()  # stage 5's
    return tmp_path / "exp"


def test_one_line_for_each_experiment(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with Experiment(folder / "b").lock():
        assert main(["exp", "ls"]) == 0
    header, a, b = capsys.readouterr().out.splitlines()
    assert a.split() == ["a", "/db/LA", "moe_mamba", "lfcc", "1", "3/3", "2.500", "7.250", "4.5", "finished"]
    assert b.split() == ["b", "/db/LA", "moe_mamba", "lfcc", "2", "1/3", "5.000", "-", "1.5", "training"]
    assert header.startswith("experiment") and header.index("state") == a.index("finished")


def test_process_that_died_is_told_from_one_that_lives(folder, capsys):
    assert main(["exp", "ls", str(folder / "b")]) == 0
    assert capsys.readouterr().out.split()[-1] == "stopped"


def test_experiment_before_its_first_epoch(folder, capsys):
    write(folder / "c", epochs=0, done=False)
    assert main(["exp", "ls", str(folder / "c")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[5:] == ["0/3", "-", "-", "0.0", "stopped"]
    assert main(["exp", "show", str(folder / "c")]) == 0


def test_all_of_one_experiment(folder, capsys):
    (folder / "a" / "diff.patch").write_text("+x\n")
    assert main(["exp", "show", str(folder / "a")]) == 0
    said = capsys.readouterr().out
    for words in ("a: finished", "eval min t-DCF: 0.1875", "experts: 4", "train data: abc", "diff.patch"):
        assert words in said


def test_two_experiments_side_by_side(folder, capsys):
    assert main(["exp", "diff", str(folder / "a"), str(folder / "b")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["model.experts:", "4", "->", "8"] in lines and ["seed:", "1", "->", "2"] in lines
    assert not any(line and line[0].startswith("training.") for line in lines)
    assert ["best", "dev", "EER", "%", "2.5", "5"] in lines
    assert ["eval", "EER", "%", "7.25", "-"] in lines


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["ls", "nowhere"], "nowhere: is no experiment, and holds none"),
        (["show", "nowhere"], "nowhere/config.yaml: nothing was trained here"),
        (["show"], "expected one experiment, found 0"),
        (["diff", "a"], "expected two experiments, found 1"),
    ],
)
def test_what_is_no_experiment_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["exp", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, content",
    [
        ("config.yaml", "[1, 2]"),
        ("config.yaml", "model: {}"),
        ("config.yaml", "model: lfcc\nfrontend: 3\nseed: 1"),
        ("train.jsonl", "3\n"),
        ("train.jsonl", '{"epoch": "x", "seconds": []}\n'),
        (".train.done", '{"best_dev_eer": "low"}'),
        ("environment.json", '{"command": 3}'),
        ("results.json", '{"eval": 3}'),
        ("results.json", '{"eval": {"eer_percent": "low"}}'),
        ("inputs.json", "[]"),
        ("inputs.json", "\x00"),
    ],
)
def test_fault_16_one_damaged_experiment_does_not_hide_the_others(folder, capsys, name, content):
    (folder / "b" / name).write_text(content)
    status = main(["exp", "ls", str(folder)])
    said = capsys.readouterr()
    a, b = said.out.splitlines()[1:]
    assert a.split()[0] == "a" and a.split()[-1] == "finished" and "Traceback" not in said.err
    if status:
        assert b.split()[0] == "b" and b.split()[-1] == "damaged" and f"{folder / 'b'}" in said.err
    else:
        assert name in ("environment.json", "results.json", "inputs.json") and b.split()[-1] == "stopped"
    for words in (
        ["show", folder / "b"],
        ["diff", folder / "a", folder / "b"],
        ["diff", folder / "b", folder / "a"],
    ):
        status = main(["exp", *map(str, words)])
        said = capsys.readouterr().err
        assert said.count("\n") <= 1 and len(said) < 400, said
        assert str(folder / "b") in said if status else status == 0


def test_fault_25_a_listing_needs_no_torch(folder):
    program = "import sys; from asvtk.bin.main import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    command = [sys.executable, "-c", program, "exp", "ls", str(folder)]
    assert subprocess.run(command, capture_output=True, text=True).stdout.endswith("0 False\n")
