"""`asvtk calibrate` as a user runs it."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from asvtk.bin.main import main
from asvtk.io.scores import read_scores, write_scores
from asvtk.metrics.calibration import Calibration, quality

N = 400


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Systems a and b, good, and c, sign-flipped; dev.txt and eval.txt of each in an order of its own."""
    monkeypatch.chdir(tmp_path)
    for seed, system in enumerate("abc"):
        for of_set in ("dev", "eval"):
            write_system(f"{system}/{of_set}.txt", of_set, seed, sign=-1 if system == "c" else 1)
    return tmp_path


def trials(of_set):
    bonafide = np.arange(N) % 4 == 0
    names = np.array([f"X_{of_set[0].upper()}_{i:04d}" for i in range(N)])
    return names, np.where(bonafide, "-", "A01"), np.where(bonafide, "bonafide", "spoof")


def write_system(path, of_set, seed, sign=1, keep=slice(None)):
    names, attacks, keys = trials(of_set)
    rng = np.random.default_rng([seed, of_set == "eval"])
    scores = sign * (3 * rng.normal(size=N) + 6 * (keys == "bonafide") + 5)
    order = rng.permutation(N)[keep]
    write_scores(path, names[order], attacks[order], keys[order], scores[order])


def unlabelled(path, to):
    lines = (line.split() for line in open(path))
    open(to, "w").writelines(f"{utterance} {score}\n" for utterance, _, _, score in lines)


def write_key(path, of_set):
    open(path, "w").writelines(
        f"s1 {name} - {attack} {key}\n" for name, attack, key in zip(*trials(of_set), strict=True)
    )


def asvtk(command, status=0):
    assert main(["calibrate", *command.split()]) == status


def refused(capsys, command, words, status=1):
    asvtk(command, status=status)
    error = capsys.readouterr().err
    assert re.search(words, error), error
    assert error.count("\n") == 1


def test_one_system(folder, capsys):
    asvtk("--dev a/dev.txt --scores a/eval.txt --out out/cal.txt")
    out, err = capsys.readouterr()
    before, after = read_scores("a/eval.txt"), read_scores("out/cal.txt")
    for same in ("utterances", "attacks", "bonafide"):
        assert np.array_equal(getattr(before, same), getattr(after, same))
    model = Calibration.load("out/cal.json")
    assert np.array_equal(model.apply([before.scores]), after.scores)
    assert model.systems == ("a/dev.txt",) and model.prior == 0.95 / 1.45
    raw, calibrated = (quality(one.scores, one.bonafide) for one in (before, after))
    assert calibrated["eer_percent"] == raw["eer_percent"] and calibrated["cllr"] < raw["cllr"]
    for name, values in (("s1", raw), ("calibrated", calibrated)):
        row = r" \| +".join(f"{values[key]:.4f}" for key in ("min_dcf", "act_dcf", "min_cllr", "cllr"))
        assert re.search(rf"\| scores \| +{name} \| .*{row} ", out)
    assert "| dev " in out and "s1: trained on a/dev.txt, applied to a/eval.txt" in out
    assert "prior of bona fide speech 0.6552; trained on 100 bona fide and 300 spoof" in out and not err


def test_fusion_joins_by_utterance_and_beats_each(folder, capsys):
    asvtk(
        "--dev a/dev.txt b/dev.txt c/dev.txt --scores a/eval.txt b/eval.txt c/eval.txt --negate 3 --out f.txt"
    )
    fused = read_scores("f.txt")
    assert np.array_equal(fused.utterances, read_scores("a/eval.txt").utterances)
    values = quality(fused.scores, fused.bonafide)
    for system, sign in (("a", 1), ("b", 1), ("c", -1)):
        one = read_scores(f"{system}/eval.txt")
        assert values["cllr"] < 0.7 * quality(sign * one.scores, one.bonafide)["cllr"]
    out, err = capsys.readouterr()
    assert re.search(r"^llr = -[\d.]+ \+[\d.]+ s1 \+[\d.]+ s2 -[\d.]+ s3$", out, re.M) and not err


def test_a_model_is_applied_again_to_the_same_bits(folder, capsys):
    asvtk("--dev a/dev.txt c/dev.txt --scores a/eval.txt c/eval.txt --negate 2 --out one.txt --model m.json")
    first = capsys.readouterr().out
    unlabelled("c/eval.txt", "c/new.txt")
    asvtk("--model m.json --scores a/eval.txt c/new.txt --out two.txt")
    second = capsys.readouterr().out
    assert (folder / "one.txt").read_bytes() == (folder / "two.txt").read_bytes()
    assert set(second.splitlines()) - set(first.splitlines()) == {
        "s2: trained on c/dev.txt, applied to c/new.txt",
        "two.txt: 400 trials; m.json: the weights",
    }


def test_labels_come_from_protocols_and_eval_needs_none(folder, capsys):
    asvtk("--dev a/dev.txt --scores a/eval.txt --out with.txt --prior 0.5")
    for of_set in ("dev", "eval"):
        unlabelled(f"a/{of_set}.txt", f"{of_set}.txt")
        write_key(f"{of_set}.key", of_set)
    capsys.readouterr()
    asvtk("--dev dev.txt --dev-protocol dev.key --scores eval.txt --out without.txt --prior 0.5")
    assert "| scores" not in capsys.readouterr().out
    with_labels, without = read_scores("with.txt"), read_scores("without.txt")
    assert without.bonafide is None and np.array_equal(without.utterances, with_labels.utterances)
    np.testing.assert_allclose(without.scores, with_labels.scores, rtol=0, atol=1e-9)
    asvtk("--dev dev.txt --dev-data dev.key --scores eval.txt --data eval.key --out out.txt --prior 0.5")
    assert "| scores" in capsys.readouterr().out
    in_order = read_scores("out.txt")
    assert in_order.utterances.tolist() == trials("eval")[0].tolist()
    order = np.argsort(with_labels.utterances)
    np.testing.assert_allclose(in_order.scores, with_labels.scores[order], rtol=0, atol=1e-9)
    assert json.loads((folder / "out.json").read_text())["prior"] == 0.5
    refused(capsys, "--dev dev.txt --scores a/eval.txt --out o.txt", "dev.txt: .*no labels.*--dev-protocol")


def test_one_class_in_the_scores_is_no_hindrance(folder, capsys):
    names, attacks, keys = (column[1:4] for column in trials("eval"))
    write_scores("spoofs.txt", names, attacks, keys, [1, 2, 3])
    asvtk("--dev a/dev.txt --scores spoofs.txt --out out.txt")
    assert "| scores" not in capsys.readouterr().out and read_scores("out.txt").scores.size == 3


def test_selection_on_eval_is_refused(folder, capsys):
    for scores in ("a/dev.txt", "b/dev.txt"):
        refused(
            capsys, f"--dev a/dev.txt --scores {scores} --out o.txt", "400 utterances stand both in a/dev.txt"
        )
    names, attacks, keys = trials("eval")
    names[7] = "X_D_0009"
    write_scores("mixed.txt", names, attacks, keys, np.arange(N))
    refused(
        capsys,
        "--dev a/dev.txt --scores mixed.txt --out o.txt",
        "1 utterances .*: X_D_0009. .*evaluation set",
    )
    asvtk("--dev a/dev.txt --scores a/eval.txt --out good.txt")
    capsys.readouterr()
    refused(capsys, "--model good.json --scores b/dev.txt --out o.txt", "the very trials that good.json was")
    assert not (folder / "o.txt").exists() and not (folder / "o.json").exists()


def test_missing_and_extra_trials_are_named(folder, capsys):
    write_system("b/part.txt", "eval", 1, keep=slice(2, None))
    missing = {*read_scores("a/eval.txt").utterances} - {*read_scores("b/part.txt").utterances}
    refused(
        capsys,
        "--dev a/dev.txt b/dev.txt --scores a/eval.txt b/part.txt --out o.txt",
        rf"b/part.txt does not fit a/eval.txt: 2 of its 400 trials have no score: .*{missing.pop()}",
    )
    refused(
        capsys,
        "--dev a/dev.txt b/eval.txt --scores a/eval.txt b/eval.txt --out o.txt",
        r"b/eval.txt does not fit a/dev.txt: 400 .* X_D_\d+.*400 scores belong to no trial of it: X_E_0000",
    )


def test_polarity(folder, capsys):
    refused(capsys, "--dev c/dev.txt --scores c/eval.txt --out o.txt", "c/dev.txt: .*no higher.*--negate")
    refused(capsys, "--dev a/dev.txt --scores a/eval.txt --out o.txt --negate", "a/dev.txt: .*--negate")
    asvtk("--dev c/dev.txt --scores c/eval.txt --out o.txt --negate")
    assert not capsys.readouterr().err
    asvtk("--dev a/dev.txt c/dev.txt --scores a/eval.txt c/eval.txt --out o.txt")
    assert re.search("warning: c/dev.txt has the negative weight .*--negate 2", capsys.readouterr().err)


def test_separable_dev_warns_also_when_the_model_is_used_again(folder, capsys):
    names, attacks, keys = trials("dev")
    write_scores("easy.txt", names, attacks, keys, np.where(keys == "bonafide", 9, 0) + np.arange(N) % 3)
    asvtk("--dev easy.txt --scores a/eval.txt --out o.txt")
    assert "asvtk calibrate: warning: easy.txt: the two classes are separated" in capsys.readouterr().err
    asvtk("--model o.json --scores a/eval.txt --out p.txt")
    assert "separated without an error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command, words",
    [
        ("--scores a/eval.txt --out o.txt", r"\(--dev\), or weights trained before \(--model\)"),
        ("--dev a/dev.txt --scores a/eval.txt b/eval.txt --out o.txt", "1 files in --dev and 2 in --scores"),
        ("--dev a/dev.txt b/dev.txt --scores b/eval.txt a/eval.txt --out o.txt", "another order.*in pairs"),
        ("--model ab.json --scores b/eval.txt a/eval.txt --out o.txt", "in a, b, .*another order in b, a"),
        ("--dev a/dev.txt --scores a/eval.txt --out o.txt --negate 2", "--negate 2: there is no such system"),
        ("--dev a/dev.txt --scores a/eval.txt --out a/eval.txt", "two files of their own"),
        ("--dev a/dev.txt --scores a/eval.txt --out o.json", "two files of their own"),
        ("--dev a/dev.txt --scores a/eval.txt --out o.txt --model a/dev.txt", "two files of their own"),
        ("--model none.json --scores a/eval.txt --out o.txt", "none.json: no such file"),
        ("--model m.json --scores a/eval.txt b/eval.txt --out o.txt", "trained on 1 systems.*: a/dev.txt"),
        ("--model m.json --scores a/eval.txt --out o.txt --negate", "--negate does not go with"),
        ("--model m.json --scores a/eval.txt --out o.txt --prior 0.5", "--prior does not go with"),
        ("--model m.json --scores a/eval.txt --out o.txt --dev-data d", "--dev-protocol does not go with"),
    ],
)
def test_what_does_not_go_together(folder, capsys, command, words):
    asvtk("--dev a/dev.txt --scores a/eval.txt --out m.txt")
    asvtk("--dev a/dev.txt b/dev.txt --scores a/eval.txt b/eval.txt --out ab.txt")
    before = (folder / "a/eval.txt").read_bytes()
    capsys.readouterr()
    refused(capsys, command, words)
    assert (folder / "a/eval.txt").read_bytes() == before and not (folder / "o.txt").exists()


@pytest.mark.parametrize(
    "command, words",
    [
        ("--dev a/dev.txt --out o.txt", "--scores is missing, or name a --detector or an --exp"),
        ("--dev a/dev.txt --scores a/eval.txt", "--out is missing"),
        (
            "--dev a/dev.txt --scores a/eval.txt --out o --eval-data d",
            "--eval-data does not go with --scores",
        ),
        ("--detector m --dev-data d", "--out is missing"),
        ("--detector m --out o.json", "--dev-data is missing"),
        ("--detector m --dev-data d --out o.json --dev x", "--dev does not go with --detector"),
        ("--detector m --dev-data d --out o.json --check", "--check does not go with --detector"),
        ("--detector m --exp e --dev-data d", "--detector does not go with --exp"),
        ("--exp e --dev-data d --prior 0.5", "--prior does not go with --exp"),
        ("--exp e --dev-data d --out o", "--out does not go with --exp"),
        ("--exp e --dev-data d --eval-data d", "a data directory is named twice"),
    ],
)
def test_each_form_has_its_options(folder, capsys, command, words):
    refused(capsys, command, words, status=2)


def test_a_detector_is_named_before_anything_is_heard(folder, capsys):
    refused(capsys, "--detector m --dev-data d --out o.json", "d: no such data directory")
    refused(capsys, "--exp e --dev-data d", "d: no such data directory")


def test_help_and_refusals_wait_for_neither_torch_nor_scikit_learn():
    code = (
        "import sys; from asvtk.bin.main import main\n"
        "assert main(['calibrate', '--scores', 'x', '--out', 'y']) == 1\n"
        "assert main(['calibrate', '--exp', 'x', '--dev-data', 'y', '--check']) == 1\n"
        "assert main(['evaluate', '--exp', 'x']) == 1\n"
        "assert not {'torch', 'sklearn', 'scipy', 'soundfile'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_published_systems(shared_data, tmp_path, capsys):
    """Half of the trials train what the other half is judged by; the scores go on to `asvtk evaluate`."""
    for system in ("rawgat_st_mul", "air_ocsoftmax"):
        whole = read_scores(shared_data / "oracles" / f"{system}.txt.gz")
        for of_set, half in (("dev", slice(0, None, 2)), ("eval", slice(1, None, 2))):
            part = whole.subset(np.argsort(whole.utterances)[half])
            keys = np.where(part.bonafide, "bonafide", "spoof")
            write_scores(
                tmp_path / system / f"{of_set}.txt", part.utterances, part.attacks, keys, part.scores
            )
    dev, scores = (
        f"{tmp_path}/rawgat_st_mul/{name}.txt {tmp_path}/air_ocsoftmax/{name}.txt" for name in ("dev", "eval")
    )
    asvtk(f"--dev {dev} --scores {scores} --negate 2 --out {tmp_path}/fused.txt")
    assert not capsys.readouterr().err
    assert main(["evaluate", "--scores", f"{tmp_path}/fused.txt", "--json", f"{tmp_path}/results.json"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["eer_percent"] < 0.7
    assert results["min_dcf"] <= results["act_dcf"] < 1.2 * results["min_dcf"]
    assert results["cllr"] < 0.04


@pytest.mark.parametrize("option", ["--prior 1", "--prior nan", "--prior 0", "--negate 0", "--labels good=1"])
def test_fault_19_values_out_of_range_are_usage_errors(capsys, option):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "--dev", "a", "--scores", "b", "--out", "c", *option.split()])
    assert end.value.code == 2 and "expected" in capsys.readouterr().err.splitlines()[-1]


def test_columns_and_labels_are_told_as_to_evaluate(folder):
    asvtk("--dev a/dev.txt --scores a/eval.txt --out plain.txt")
    for of_set in ("dev", "eval"):
        rows = [line.split() for line in open(f"a/{of_set}.txt")]
        lines = (f"{score};{int(key == 'bonafide')};{name}\n" for name, _, key, score in rows)
        (folder / f"{of_set}.csv").write_text("logit;real;clip\n" + "".join(lines))
    told = "--columns utterance=clip,score=logit,key=real --labels bonafide=1,spoof=0"
    asvtk(f"--dev dev.csv --scores eval.csv --out told.txt {told}")
    assert read_scores("told.txt").scores.tolist() == read_scores("plain.txt").scores.tolist()
