"""Hyper-parameter search: spaces in YAML, and studies that go on after a kill."""

import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asvtk.bin.main import main
from asvtk.io.config import load_yaml
from asvtk.io.errors import AsvtkError
from asvtk.training.config import build_config
from asvtk.training.search_space import Choices, Range, check_space, configured_point, read_space, with_values

RECIPE = Path(__file__).parents[2] / "egs" / "asvspoof2019_la"
BASE = {
    "frontend": {"name": "lfcc"},
    "model": {"name": "moe_mamba", "dropout": 0.2},
    "loss": {"name": "oc_softmax"},
    "training": {"lr": 1e-4, "lr_end": 1e-6},
}
SPACE = """
training.lr: {low: 1e-5, high: 1.0e-3, log: true}
model.blocks: {low: 1, high: 4}
model.dropout: {low: 0.0, high: 0.5, step: 0.1}
loss: {choices: [{name: oc_softmax}, {name: wce, bonafide_weight: 0.5, spoof_weight: 0.5}]}
"""


def read(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    space = read_space(path)
    check_space(space, path, BASE, "base.yaml")
    return space


# ---- spaces


def test_whole_numbers_numbers_and_sections_are_told_apart(tmp_path):
    space = read(tmp_path, SPACE)
    assert space["training.lr"] == Range(1e-5, 1e-3, log=True) and not space["training.lr"].whole
    assert space["model.blocks"].whole and space["model.blocks"].grid() == [1, 2, 3, 4]
    assert space["model.dropout"].grid() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert isinstance(space["loss"], Choices) and space["loss"].labels[0] == '{"name": "oc_softmax"}'
    assert configured_point(space, BASE) == {
        "training.lr": 1e-4,
        "model.blocks": 3,
        "model.dropout": 0.2,
        "loss": '{"name": "oc_softmax"}',
    }
    assert configured_point(space, with_values(BASE, {"model.dropout": 0.25}, "")) is None


@pytest.mark.parametrize(
    "line, message",
    [
        ("training.lrr: {low: 1, high: 2}", "training.lrr: 1 does not go into base.yaml.*did you mean 'lr'"),
        ("model.blocks: {low: 0.5, high: 2}", "model.blocks: 0.5 does not go into .*a whole number"),
        ("model.dropout: {low: 0.1, high: 1.5}", "model.dropout: 1.5 does not go into"),
        ("loss: {choices: [{name: oc_softmax}, {name: nothing}]}", "loss: .*nothing.* does not go into"),
        ("model.blocks.x: {low: 1, high: 2}", "model.blocks.x: "),
        ("training.lr: {low: 2, high: 1}", "training.lr: low 2 is not below high 1"),
        ("training.lr: {low: 0, high: 1, log: true}", "training.lr: log: true needs a low above 0"),
        ("training.lr: {low: 0.0, high: 1.0, step: 0.3}", "step 0.3 does not lead from 0.0 to 1.0"),
        ("training.lr: {low: x, high: 1}", "training.lr.low: expected a number"),
        ("training.lr: {low: 0, hihg: 1}", "training.lr: unknown key 'hihg'"),
        ("training.lr: {choices: []}", "training.lr: expected .* one value at least"),
        ("training.lr: {choices: [1, 1]}", "training.lr: the choice 1 stands twice"),
        ("training.lr: 3", "training.lr: expected {low: A, high: B} or"),
        ("loss: {choices: [{name: wce}]}\nloss.alpha: {low: 1, high: 2}", "loss.alpha: overlaps loss"),
        ("seed: {low: 1, high: 9}", "seed: the seeds of a trial are those of --seeds"),
        ("training.eval_all_best: {choices: [true]}", "a search looks at dev alone"),
        ("vocoded.copies: {low: 1, high: 2}", "vocoded data are made once"),
        ("{}", "holds no key"),
    ],
)
def test_a_bad_space_is_one_line_that_names_file_and_key(tmp_path, capsys, line, message):
    with pytest.raises(AsvtkError, match=f"space.yaml: .*{message}" if line != "{}" else message):
        read(tmp_path, line)
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    words = ["--config", str(tmp_path / "base.yaml"), "--space", str(tmp_path / "space.yaml"), "--check"]
    assert main(["tune", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("asvtk tune: error: ") and len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["lfcc_moe_mamba", "xlsr_layer5_aasist"])
def test_spaces_of_the_recipe_hold_their_configurations(name):
    content, path = load_yaml(RECIPE / "conf" / f"{name}.yaml"), RECIPE / "conf" / "tune" / f"{name}.yaml"
    space = read_space(path)
    check_space(space, path, content, name)
    assert configured_point(space, content) is not None


# ---- studies

optuna = pytest.importorskip("optuna")


def study(folder, tmp_path, sampler="tpe", seed=1, basis="a", space=SPACE):
    from asvtk.training.search import Search

    folder.mkdir(exist_ok=True)
    return Search(folder, read(tmp_path, space), {"of": basis}, sampler, seed)


def rate(values):
    """A dev EER that depends on all of them."""
    return abs(math.log10(values["training.lr"]) + 4) + values["model.blocks"] + values["model.dropout"]


def go_on(search, until):
    for trial in search.unfinished():
        search.tell(trial.number, [rate(trial.values)], 1.0)
    while len(search.outcomes()) < until:
        trial = search.ask()
        search.tell(trial.number, [rate(trial.values)], 1.0)
    return [of.values for of in search.outcomes()]


def test_seed_and_results_decide_what_is_proposed_killed_or_not(tmp_path):
    at_once = go_on(study(tmp_path / "a", tmp_path), 14)  # the last four by what was learnt
    search = study(tmp_path / "b", tmp_path)
    go_on(search, 5)
    left = search.ask()  # ... and here its process was killed
    del search
    search = study(tmp_path / "b", tmp_path)
    assert search.outcomes()[5].eers is None
    assert go_on(search, 14) == at_once and at_once[5] == left.values
    assert len({str(values) for values in at_once}) == 14
    for values in at_once:
        build_config(with_values(BASE, values, ""), "")
        assert type(values["model.blocks"]) is int and type(values["loss"]) is dict
    assert go_on(study(tmp_path / "c", tmp_path, seed=2), 5) != at_once[:5]
    shares = study(tmp_path / "b", tmp_path).importances()
    assert max(shares, key=shares.get) == "model.blocks" and 0.5 < sum(shares.values()) <= 1


def test_killed_at_any_moment_a_study_counts_each_trial_once(tmp_path):
    """kill -9 while trials are asked for and told as fast as can be."""
    program = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path; import test_search as t
folder = Path({str(tmp_path)!r}); search, rate = t.study(folder / "a", folder), t.rate
t.rate = lambda values: print("trial", flush=True) or rate(values)
t.go_on(search, 1000)
"""
    for _ in range(2):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}",
        }
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
        for _ in range(3):
            assert process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    search = study(tmp_path / "a", tmp_path)
    before = search.outcomes()
    assert sum(of.eers is None for of in before) <= 1 and len(before) > 3
    go_on(search, len(before))
    after = search.outcomes()
    assert [of.number for of in after] == list(range(len(before))) and all(of.eers for of in after)
    assert all(one.values.items() <= other.values.items() for one, other in zip(before, after, strict=True))


def test_what_failed_stays_open_at_the_same_point(tmp_path):
    search = study(tmp_path / "a", tmp_path)
    trial = search.ask()
    search.fail(trial.number, "no memory")
    assert search.outcomes()[0].failed == "no memory" and search.outcomes()[0].eers is None
    again = study(tmp_path / "a", tmp_path)
    (taken_up,) = again.unfinished()
    assert taken_up.values == trial.values and not again.unfinished()
    again.tell(taken_up.number, [4.0, 2.0], 1.0)
    assert again.outcomes()[0].eer == 3.0 and not again.outcomes()[0].failed


def test_a_grid_is_searched_whole_and_each_point_once(tmp_path):
    grid = "model.blocks: {low: 1, high: 3}\nloss: {choices: [{name: oc_softmax}, {name: wce}]}\n"
    search = study(tmp_path / "a", tmp_path, "grid", space=grid)
    assert search.size == 6
    for number in range(6):
        trial = search.ask()
        if number != 2:
            search.tell(trial.number, [1.0], 1.0)
    assert len({str(of.values) for of in search.outcomes()}) == 6
    with pytest.raises(AsvtkError, match="training.lr: a grid needs choices, or a range with a step"):
        study(tmp_path / "b", tmp_path, "grid")


def test_another_search_in_the_folder_is_refused(tmp_path):
    study(tmp_path / "a", tmp_path)
    for changed in ({"basis": "b"}, {"seed": 2}, {"sampler": "random"}):
        with pytest.raises(AsvtkError, match="is of another search: .* -> .*--force true"):
            study(tmp_path / "a", tmp_path, **changed)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(AsvtkError, match="study.db: is no study that this Optuna reads"):
        study(tmp_path / "b", tmp_path)
