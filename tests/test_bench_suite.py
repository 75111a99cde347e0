"""Runner of the benchmarks, on stubs that measure nothing; and docs/benchmarks.md against the baselines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RUNNER = ROOT / "tools" / "bench" / "run_suite.py"
STUB = """
import argparse, sys
sys.path.insert(0, {folder!r})
import figures
parser = argparse.ArgumentParser()
parser.add_argument("rate", type=float)
figures.add_option(parser)
args = parser.parse_args()
args.figures.add("rate", args.rate, "a second", peer=10.0)
args.figures.add("time", 8 / args.rate, "s", higher_is_better=False)
sys.exit("no rate" if args.rate > 99 else 0)
"""


@pytest.fixture
def suite(tmp_path):
    """A function that runs a suite of the benches given as name -> word of the stub; status and output."""
    (tmp_path / "stub.py").write_text(STUB.format(folder=str(RUNNER.parent)))

    def run(*words, **rates):
        benches = [
            {"name": name, "section": "Stubs", "peer": "ten", "what": "nothing", "command": "stub.py " + rate}
            for name, rate in rates.items()
        ]
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"cpu": benches, "gpu": []}))
        command = [sys.executable, RUNNER, "cpu", "--suite", tmp_path / "suite.yaml", *words]
        answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        return answer.returncode, answer.stdout + answer.stderr

    run.baselines = tmp_path / "baselines"
    return run


def change_baseline(suite, bench: str, **changes) -> None:
    """Other values for the first record of a bench in the saved baseline."""
    (path,) = suite.baselines.iterdir()
    baseline = json.loads(path.read_text())
    baseline["benches"][bench]["records"][0].update(changes)
    path.write_text(json.dumps(baseline))


def test_what_is_as_before_passes_and_what_is_saved_says_where_it_was_measured(suite):
    assert suite("--save", "--note", "by a stub", a="20")[0] == 0
    (path,) = suite.baselines.iterdir()
    baseline = json.loads(path.read_text())
    bench = baseline["benches"]["a"]
    assert "cores" in baseline["machine"] and bench["note"] == "by a stub" and bench["revision"]
    assert "torch" in bench["versions"] and bench["command"] == "stub.py 20"
    first, second = bench["records"]
    assert (first["value"], first["peer"], first["spread"]) == (20, 10, 0)
    assert (second["value"], second["peer"], second["higher_is_better"]) == (0.4, None, False)
    status, said = suite(a="20")
    assert status == 0 and "+0 %" in said and "value, no peer" in said and "Worse: none" in said


def test_the_ratio_to_the_peer_is_compared_and_a_spread_allowed(suite):
    suite("--save", a="20")
    change_baseline(suite, "a", value=300.0, peer=100.0)  # a faster machine, and 3 times the peer
    status, said = suite(a="20")
    assert status == 2 and "a, rate: 33 % worse, 10 % allowed" in said
    change_baseline(suite, "a", spread=0.4)
    assert suite(a="20")[0] == 0
    change_baseline(suite, "a", value=200.0, spread=0.0)
    assert suite(a="20")[0] == 0


def test_one_that_fails_is_told_and_the_others_run(suite):
    status, said = suite("--save", a="100", b="20")
    assert status == 1 and "a: status 1, no rate" in said and "  rate  " in said.partition("b: stub.py")[2]
    change_baseline(suite, "b", name="gone")
    status, said = suite("--only", "b", b="20")
    assert status == 1 and "gone is in the baseline, and was not measured" in said


def test_a_baseline_of_another_command_is_not_compared(suite):
    suite("--save", a="20")
    status, said = suite(a="5")
    assert status == 0 and "the baseline is of stub.py 20" in said


def test_the_page_is_what_the_baselines_give(monkeypatch):
    monkeypatch.syspath_prepend(RUNNER.parent)
    import run_suite

    page, suite = run_suite.PAGE.read_text(), run_suite.load_suite(RUNNER.with_name("suite.yaml"))
    baselines = run_suite.load_baselines(RUNNER.with_name("baselines"))
    assert run_suite.fill_page(page, suite, baselines) == page, "run tools/bench/run_suite.py docs"
    for bench in suite["cpu"] + suite["gpu"]:
        text = RUNNER.with_name(bench["command"].split()[0]).read_text()
        assert "args.figures.add(" in text, bench["name"]
