"""YAML and JSON from disk: configurations, stamps, weights of a calibration, logs."""

import json
import re

import numpy as np
import pytest
import yaml
from hypothesis import strategies as st
from mutations import (
    DOCUMENTS,
    WRAPPINGS,
    apply,
    apply_changes,
    byte_edits,
    changes,
    fuzz,
    text_edits,
    to_yaml,
)

FULL = "config.yaml"  # of an experiment: every default is written out


def _config(lab) -> dict:
    return yaml.safe_load((lab.exp / FULL).read_text())


# ---- configurations


@fuzz(50, changed=changes())
def test_wrong_values_in_a_configuration(lab, changed):
    with lab.case("config") as case:
        case.write("c.yaml", to_yaml(apply_changes(changed, _config(lab))))
        said = case.run("c.yaml", names="c.yaml")
        if said.status == 0:
            case.write("again.yaml", said.out)
            assert case.run("again.yaml").out == said.out, "what is printed is read otherwise"


@fuzz(50, edits=text_edits())
def test_damaged_configuration(lab, edits):
    with lab.case("config") as case:
        case.write("c.yaml", apply(edits, (lab.exp / FULL).read_bytes()))
        case.run("c.yaml", names="c.yaml")


@pytest.mark.parametrize("number", range(len(DOCUMENTS)))
def test_odd_documents(lab, number):
    with lab.case("config") as case:
        case.write("c.yaml", DOCUMENTS[number])
        case.run("c.yaml", names="c.yaml")
        case.write("model.json", DOCUMENTS[number])
        case.write("s.txt", "a 1\nb 2\n")
        words = ["--model", "model.json", "--scores", "s.txt", "--out", "out.txt"]
        case.run(*words, names="model.json", verb="calibrate", status=1)
        path = case.copy(lab.exp, "exp") / "config.yaml"
        path.write_text(DOCUMENTS[number])
        case.run("show", "exp", names="config.yaml", verb="exp")
        case.run(
            "--exp", "exp", "--dump", lab.dump, "--data", lab.data / "dev", names="config.yaml", verb="score"
        )


@pytest.mark.parametrize(
    "wrapping", ["plain", "byte order mark", "CRLF", "blank lines at the end", "spaces at the ends"]
)
def test_wrappings_of_a_configuration(lab, wrapping):
    with lab.case("config") as case:
        text = (lab.exp / FULL).read_bytes()
        case.write("plain.yaml", text)
        case.write("c.yaml", WRAPPINGS[wrapping](text))
        said = case.run("c.yaml")
        assert said.status == 0 and said.out == case.run("plain.yaml").out


OVERRIDES = [
    "", "=", "a", "a=", "=1", "training", "training=1", "training.lr", "training.lr=", "training.lr=x",
    "training.lr=nan", "training.lr=-1", "training.lr=1e999", "training.epochs=0", "training.epochs=-1",
    "training.epochs=1.5", "training.epochs=1_0", "training.epochs=99999999999999999999",
    "training.batch_size=0", "training.batch_size=[]", "seed=-1", "seed=10000000000000000000000", "seed=true",
    "seed=null", "model.name=nothing", "model.name=[1]", "model.name={a: b}", "model.d_model=0",
    "model.d_model=-8", "model.d_model=1e12", "model.dropout=2", "model..x=1", "model.name.x=1",
    "frontend={name: lfcc", "frontend=!!python/name:os.system", "frontend.crop.samples=-1",
    "frontend.crop.samples=0", "frontend.shift=0", "frontend.fft=0", "frontend.filters=1000000000",
    "loss.name=null", "loss.alpha=nan", "\0=1", "training.lr=[[[[", "training.lr=&a [*a]", "a.b.c.d.e.f.g=1",
    "model=2026-99-99", "training.epochs=\u0661", "training.lr='", "x" * 50_000 + "=1", "seed=" + "9" * 5000,
    "-=1", "\udcff=1",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(OVERRIDES)))
def test_odd_overrides(lab, number):
    with lab.case("config") as case:
        case.write("c.yaml", (lab.exp / FULL).read_bytes())
        case.run("c.yaml", "--override", OVERRIDES[number], names=re.match(r"\w{0,9}", OVERRIDES[number])[0])


# ---- experiments

EXPERIMENT_FILES = ["config.yaml", "results.json", ".train.done", "inputs.json", "environment.json"]


def _two_experiments(case, lab, name: str, text: str | bytes) -> None:
    """exps/bad, one file of which is changed, and exps/good."""
    (case.folder / "exps").mkdir()
    (case.folder / "exps" / "good").symlink_to(lab.exp)
    case.copy(lab.exp, "exps/bad")
    case.write(f"exps/bad/{name}", text)


def _look_at_experiments(case, name: str) -> None:
    listed = case.run("ls", "exps", names="bad", verb="exp")
    assert "\ngood " in listed.out, "a bad experiment hides another"
    case.run("show", "exps/bad", names=name, verb="exp")
    case.run("diff", "exps/good", "exps/bad", names=name, verb="exp")


@fuzz(30, changed=changes(), name=st.sampled_from(EXPERIMENT_FILES))
def test_wrong_values_in_an_experiment(lab, changed, name):
    with lab.case("exp") as case:
        tree = yaml.safe_load((lab.exp / name).read_text())
        tree = apply_changes(changed, tree)
        _two_experiments(case, lab, name, to_yaml(tree) if name.endswith("yaml") else _json(tree))
        _look_at_experiments(case, name)


@fuzz(30, edits=text_edits(), name=st.sampled_from([*EXPERIMENT_FILES, "train.jsonl"]))
def test_damaged_experiment(lab, edits, name):
    with lab.case("exp") as case:
        _two_experiments(case, lab, name, apply(edits, (lab.exp / name).read_bytes()))
        _look_at_experiments(case, name)


@fuzz(20, changed=changes())
def test_wrong_values_in_a_log(lab, changed):
    with lab.case("exp") as case:
        lines = [json.loads(line) for line in (lab.exp / "train.jsonl").read_text().splitlines()]
        lines = [_json(apply_changes(changed, line)) + "\n" for line in lines]
        _two_experiments(case, lab, "train.jsonl", "".join(lines))
        _look_at_experiments(case, "train.jsonl")


@fuzz(
    30,
    changed=changes(),
    name=st.sampled_from(["config.yaml", ".train.done", "inputs.json", "scores/.dev.done"]),
)
def test_scoring_with_wrong_values_in_an_experiment(lab, changed, name):
    with lab.case("score") as case:
        path = case.copy(lab.exp, "exp") / name
        tree = apply_changes(changed, yaml.safe_load(path.read_text()))
        path.write_text(to_yaml(tree) if name.endswith("yaml") else _json(tree))
        before = (lab.exp / "scores" / "dev.txt").read_bytes()
        said = case.run("--exp", "exp", "--dump", lab.dump, "--data", lab.data / "dev")
        if said.status == 0 and name != "config.yaml":
            assert (case.folder / "exp" / "scores" / "dev.txt").read_bytes() == before, "other scores"


@fuzz(30, edits=byte_edits(), name=st.sampled_from(["best.safetensors", "last.safetensors"]))
def test_damaged_checkpoint(lab, edits, name):
    with lab.case("score") as case:
        path = case.copy(lab.exp, "exp") / "checkpoints" / name
        path.write_bytes(apply(edits, path.read_bytes()))
        for done in (case.folder / "exp" / "scores").glob(".*.done"):
            done.unlink()
        said = case.run("--exp", "exp", "--dump", lab.dump, "--data", lab.data / "dev", names="exp")
        if said.status == 0:
            scores = [
                float(line.split()[3])
                for line in (case.folder / "exp/scores/dev.txt").read_text().splitlines()
            ]
            assert np.isfinite(scores).all(), "scores that are no numbers"


@fuzz(30, edits=text_edits(), changed=changes(), by_tree=st.booleans())
def test_damaged_manifest_of_a_cache(lab, edits, changed, by_tree):
    with lab.case("cache") as case:
        path = next(case.copy_cache(lab).glob("*/manifest.json"))
        tree = json.loads(path.read_text())
        path.write_bytes(
            _json(apply_changes(changed, tree)).encode() if by_tree else apply(edits, path.read_bytes())
        )
        case.run("ls", "--dump", "dump", "--long", names="dump")
        case.run("verify", "--dump", "dump", names="dump")


# ---- weights of a calibration


@fuzz(30, changed=changes())
def test_wrong_values_in_calibration_weights(lab, changed):
    with lab.case("calibrate") as case:
        model = _trained_calibration(case)
        case.write("m.json", _json(apply_changes(changed, json.loads(model))))
        _apply_calibration(case)


@fuzz(30, edits=text_edits())
def test_damaged_calibration_weights(lab, edits):
    with lab.case("calibrate") as case:
        case.write("m.json", apply(edits, _trained_calibration(case).encode()))
        _apply_calibration(case)


def _trained_calibration(case) -> str:
    rows = [
        (f"D{n}", "-" if n % 2 else "A07", "bonafide" if n % 2 else "spoof", n % 5 + 3 * (n % 2))
        for n in range(40)
    ]
    case.write("dev.txt", "".join(f"{u} {a} {k} {s}\n" for u, a, k, s in rows))
    case.write("new.txt", "".join(f"E{n} {n / 10}\n" for n in range(20)))
    case.run("--dev", "dev.txt", "--scores", "new.txt", "--out", "out.txt", "--model", "m.json", status=0)
    (case.folder / "out.txt").unlink()
    return (case.folder / "m.json").read_text()


def _apply_calibration(case) -> None:
    said = case.run("--model", "m.json", "--scores", "new.txt", "--out", "out.txt", names="m.json")
    assert (case.folder / "out.txt").exists() == (said.status == 0)
    if said.status == 0:
        written = [float(line.split()[1]) for line in (case.folder / "out.txt").read_text().splitlines()]
        assert len(written) == 20 and np.isfinite(written).all(), "scores that are no numbers"


def _json(tree) -> str:
    return json.dumps(tree, default=str)
