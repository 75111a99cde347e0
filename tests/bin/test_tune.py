"""asvtk tune with a stand-in for run.sh: folds, failures, what is refused, and what Ctrl-C ends."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.bin.main import main
from asvtk.io.config import load_yaml
from asvtk.io.datadir import DataDirectory

pytest.importorskip("optuna")
BASE = """
frontend: {name: lfcc}
model: {name: moe_mamba, blocks: 3}
loss: {name: oc_softmax}
training: {lr: 1.0e-4, lr_end: 1.0e-5}
"""
# Of ten scores as many are wrong as there are blocks.
STAND_IN = f"""#!{sys.executable}
import os, sys, time
from pathlib import Path
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open("calls", "a") as calls:
    sets = given["--train-sets"], given["--dev-sets"], repr(given["--test-sets"])
    print(given["--tag"], *sets, sep="|", file=calls)
time.sleep(float(os.environ.get("WORK", 0)))
if Path("failing").exists() and given["--tag"] in Path("failing").read_text():
    sys.exit("asvtk train: error: no memory")
wrong = int(Path(given["--config"]).read_text().split("blocks: ")[1].split()[0])
lines = [f"b{{n}} - bonafide {{-n if n < wrong else 9}}" for n in range(10)]
lines += [f"s{{n}} A01 spoof {{n / 100}}" for n in range(10)]
first, _, last = given["--seeds"].partition(":")
for seed in range(int(first), int(last) + 1):
    path = Path("exp", f"{{given['--tag']}}_seed{{seed}}", "scores", f"{{given['--dev-sets']}}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\\n".join(lines) + "\\n")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    la = write_tiny_corpus(tmp_path)
    for split in ("train", "dev"):
        prepare_split(la, split, tmp_path / "data" / split)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "space.yaml").write_text("model.blocks: {low: 2, high: 5}\n")
    (tmp_path / "run.sh").write_text(STAND_IN)
    (tmp_path / "run.sh").chmod(stat.S_IRWXU)
    return tmp_path


def words(*options, judged=("--dev-data", "data/dev")):
    given = [
        "--config",
        "base.yaml",
        "--space",
        "space.yaml",
        "--expdir",
        "exp",
        "--train-data",
        "data/train",
    ]
    return ["tune", *given, *map(str, (*judged, *options)), "--", "./run.sh"]


def calls(folder):
    """Lines of the calls; forgets them."""
    lines = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
    (folder / "calls").write_text("")
    return lines


def test_best_of_a_grid_and_what_failed_is_tried_again(folder, capfd):
    (folder / "failing").write_text("trial_001\n")
    assert main(words("--sampler", "grid", "--seeds", "1:2", "--parallel", 2)) == 1
    said = capfd.readouterr().out
    assert (
        "the grid has 4 points" in said and "trial_001: failed: asvtk train: error: no memory; log: " in said
    )
    assert "trials without a result: 1; the same command tries them again" in said
    assert sorted(calls(folder)) == [f"trial_00{number}|train|dev|''" for number in range(4)]
    page = (folder / "exp" / "RESULTS.md").read_text()
    assert "3 trials looked at it" in page and "| Without a result |" in page and "no memory" in page
    assert "Trial 0 is the configuration" not in page

    (folder / "failing").unlink()
    assert main(words("--sampler", "grid", "--seeds", "1:2")) == 0
    assert calls(folder) == ["trial_001|train|dev|''"]
    page = (folder / "exp" / "RESULTS.md").read_text()
    rows = [line.split("|")[2:4] for line in page.splitlines() if line.startswith("| ")][2:]
    assert [[rate.strip(), blocks.strip()] for rate, blocks in rows] == [
        [f"{10 * blocks}.00 ± 0.00", str(blocks)] for blocks in (2, 3, 4, 5)
    ]
    text = (folder / "exp" / "best.yaml").read_text()
    assert text.startswith("# trial_00") and "EER 20.00 % on dev" in text
    assert load_yaml(folder / "exp" / "best.yaml")["model"] == {"name": "moe_mamba", "blocks": 2}


def test_the_first_trial_is_the_configuration_as_it_is(folder):
    assert main(words("--trials", 1, "--seeds", 3)) == 0
    page = (folder / "exp" / "RESULTS.md").read_text()
    assert "Trial 0 is the configuration as it is." in page and "seed 3 alone" in page
    assert load_yaml(folder / "exp" / "best.yaml")["model"]["blocks"] == 3


def test_folds_are_parts_of_the_training_set(folder, monkeypatch):
    utils = os.path.join(os.path.dirname(__file__), "..", "..", "utils")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{utils}:{os.environ['PATH']}")
    folds = words("--trials", 1, "--seeds", 3, judged=("--folds", 3))
    assert main(folds) == 0
    parts = [f"train_speaker_fold{number}of3" for number in (1, 2, 3)]
    assert calls(folder) == [
        f"trial_000_fold{held + 1}|{' '.join(part for part in parts if part != parts[held])}|{parts[held]}|''"
        for held in range(3)
    ]
    held = [DataDirectory.read(folder / "data" / part) for part in parts]
    assert all(min(part.count_classes()) > 0 for part in held)
    whole = DataDirectory.read(folder / "data" / "train")
    assert sorted(u for part in held for u in part.utterances) == whole.utterances
    assert "EER in percent on 3 folds by speaker" in (folder / "exp" / "RESULTS.md").read_text()


def test_values_that_do_not_go_together_are_a_failed_trial(folder, capfd):
    (folder / "base.yaml").write_text(BASE.replace("lr: 1.0e-4", "lr: 1.0e-3"))
    (folder / "space.yaml").write_text(
        "training.lr: {choices: [1.0e-4, 1.0e-3]}\ntraining.lr_end: {choices: [1.0e-5, 5.0e-4]}\n"
    )
    assert main(words("--sampler", "grid", "--seeds", 1)) == 1
    assert "expected 0 <= lr_end <= lr" in capfd.readouterr().out and len(calls(folder)) == 3


def test_another_search_is_refused_and_force_begins_anew(folder, capfd):
    assert main(words("--trials", 2, "--seeds", 1)) == 0 and len(calls(folder)) == 2
    assert main(words("--trials", 2, "--seeds", 1)) == 0 and not calls(folder)
    assert main(words("--trials", 3, "--seeds", 1)) == 0 and len(calls(folder)) == 1
    (folder / "space.yaml").write_text("model.blocks: {low: 2, high: 9}\n")
    assert main(words("--trials", 3, "--seeds", 1)) == 1 and not calls(folder)
    assert "is of another search: space.model.blocks.high: 5 -> 9" in capfd.readouterr().err
    assert main(words("--trials", 1, "--seeds", 1, "--force")) == 0 and len(calls(folder)) == 1
    assert [path.name for path in (folder / "exp").glob("trial_*")] == ["trial_000_seed1"]


def test_ctrl_c_ends_all_that_was_started(folder):
    command = [sys.executable, "-m", "asvtk", *words("--parallel", 2)]
    process = subprocess.Popen(command, env={**os.environ, "WORK": "1234.5"}, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (folder / "calls").exists() or len((folder / "calls").read_text().splitlines()) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "./run.sh --config exp/conf/trial_00" not in listed


@pytest.mark.parametrize(
    "changed, options, message",
    [
        ("", ["--train-data"], "--train-data: expected at least one argument"),
        ("  eval_all_best: true\n", [], "training.eval_all_best looks at eval"),
    ],
)
def test_misuse(folder, capfd, changed, options, message):
    (folder / "base.yaml").write_text(
        BASE.replace("{lr: 1.0e-4, lr_end: 1.0e-5}", "\n  lr: 1.0e-4\n") + changed
    )
    try:
        assert main(words(*options)) == 1
    except SystemExit as misuse:
        assert misuse.code == 2
    assert message in capfd.readouterr().err and not calls(folder)
