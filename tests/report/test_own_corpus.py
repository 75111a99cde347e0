"""A corpus that is not ASVspoof 2019 LA: page, RESULTS.md, results.json and terminal against a hand count."""

import json
import re
from html import unescape

import pytest

from asvtk.bin.main import main
from asvtk.corpora.facts import load_facts
from asvtk.report.comparison import compare

KINDS = {"X1": "vocoder", "X2": "vocoder", "X3": "codec", "X4": "replay", "X5": "a|b<i>"}
#: eval: bona fide at 1 ... 10; each attack has four spoofs at these scores
EVAL = {
    "X1": [0, 0, 0, 0],
    "X2": [0, 0, 0, 2.5],
    "X3": [0, 0, 4.5, 4.5],
    "X4": [6.5, 6.5, 6.5, 6.5],
    "X5": [11, 11, 11, 11],
}
#: By hand: the mean of FRR and FAR at the cut where they differ least, which may pass between ties.
#: X2: above 2, 2/10 and 1/4. X3: above 4, 4/10 and 2/4. X4: between its spoofs, 6/10 and 2/4. X5: above 10.
EERS = {"X1": 0.0, "X2": 22.5, "X3": 45.0, "X4": 55.0, "X5": 100.0}


def write_set(root, name, shift=0.0):
    """dev: bona fide at 1 ... 10, all spoofs at 3.5 + shift, its EER threshold; EER 30 %, or 40 %."""
    rows = [(f"{name}-b{i}", "-", "bonafide", i) for i in range(1, 11)]
    spoofs = EVAL if name == "eval" else {attack: [3.5 + shift] * 4 for attack in EVAL}
    rows += [(f"{name}-{a}-{i}", a, "spoof", s) for a, of in spoofs.items() for i, s in enumerate(of)]
    data = root / "data" / name
    data.mkdir(parents=True, exist_ok=True)
    rows.sort()
    (data / "utt2label").write_text("".join(f"{u} {key}\n" for u, _, key, _ in rows))
    (data / "utt2attack").write_text("".join(f"{u} {attack}\n" for u, attack, _, _ in rows))
    (data / "attack2kind").write_text("".join(f"{attack} {kind}\n" for attack, kind in KINDS.items()))
    return "".join(f"{u} {attack} {key} {s}\n" for u, attack, key, s in rows)


def experiment(root, name, config="model: {name: mlp}\nseed: 1\n", shift=0.0):
    scores = root / "exp" / name / "scores"
    scores.mkdir(parents=True)
    for of_set in ("dev", "eval"):
        (scores / f"{of_set}.txt").write_text(write_set(root, of_set, shift))
    if config is not None:
        (root / "exp" / name / "config.yaml").write_text(config)
    return f"exp/{name}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asvtk(*words, status=0):
    assert main(["evaluate", *words]) == status


def text_of(html):
    """What a reader of the page sees, one space between words."""
    html = re.sub(r"<style>.*?</style>|<title>.*?</title>", "", html, flags=re.S).replace("<wbr>", "")
    seen = unescape(re.sub(r"<[^>]*>", " ", html))
    return " ".join(seen.replace("‑", "-").replace("−", "-").split())


def test_fault_01_03_23_own_corpus_agrees_everywhere_with_a_hand_count(folder, capsys):
    one = experiment(folder, "one")
    asvtk("--exp", one, "--data-root", "data", "--report", "rep")
    out = capsys.readouterr().out
    results = json.loads((folder / one / "results.json").read_text())
    of_eval = results["eval"]
    # dev: 3 of 10 bona fide trials lie below the spoofs; the EER passes between those, 6 of 20 accepted.
    assert results["dev"]["eer_percent"] == 30.0 and results["dev"]["threshold"] == 3.5
    assert {attack: row["eer_percent"] for attack, row in of_eval["per_attack"].items()} == pytest.approx(
        EERS
    )
    assert {attack: row["kind"] for attack, row in of_eval["per_attack"].items()} == KINDS
    assert {kind: row["n"] for kind, row in of_eval["per_kind"].items()} == {
        "vocoder": 8, "codec": 4, "replay": 4, "a|b<i>": 4
    }  # fmt: skip
    assert of_eval["per_kind"]["vocoder"]["eer_percent"] == pytest.approx(100 * (0.1 + 1 / 8) / 2)
    assert of_eval["per_known"] == {} and of_eval["grouping"] is None and of_eval["split"] is None
    # At dev's threshold: bona fide 1, 2, 3 are rejected; 2 of X3 and all of X4 and X5 are accepted.
    carried = of_eval["operating_points"]["dev_eer"]
    assert (carried["threshold"], carried["frr"], carried["far"]) == (3.5, 0.3, 0.5)
    assert "operating_points" not in results["dev"]

    markdown = (folder / "rep" / "RESULTS.md").read_text()
    page = (folder / "rep" / "report.html").read_text()
    seen = text_of(page)
    rates = "threshold 3.5, FRR (bona fide rejected) 30.000 %, FAR (spoofs accepted) 50.000 %"
    for text in (out, markdown, (folder / one / "RESULTS.md").read_text()):
        assert f"dev's EER threshold: {rates}" in text
        cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in text.splitlines()]
        for attack, rate in EERS.items():
            kind = KINDS[attack].replace("|", "\\|").replace("<", "\\<")
            assert ["", attack, kind, "4", f"{rate:.3f}", "–", "–", ""] in cells
        assert "TTS" not in text.partition("Beside published")[0] and "(database grouping)" not in text
    assert f"one at dev's EER threshold: {rates}" in seen
    for attack, rate in EERS.items():
        assert f"{attack} {KINDS[attack]} 4 {rate:.3f}" in seen
    own = seen.partition("Beside published systems")[2].partition("Not comparable")[0]
    rate = f"{of_eval['eer_percent']:.3f}"
    assert f"A one 30.000 {rate} – 0.00 22.50 45.00 55.00 100.00" in own and "dev EER % eval EER %" in own
    assert f"| one | this report | 30.000 | {rate} |" in " ".join(markdown.split())

    # The same from the score file alone.
    asvtk("--scores", f"{one}/scores/eval.txt", "--data", "data/eval", "--dev", f"{one}/scores/dev.txt",
          "--operating-point", "4.5", "--json", "o.json")  # fmt: skip
    alone = json.loads((folder / "o.json").read_text())
    for key in ("eer_percent", "per_attack", "per_kind", "act_dcf", "cllr", "threshold", "n_spoof"):
        assert alone[key] == of_eval[key]
    assert alone["operating_points"]["dev_eer"] == carried
    assert alone["operating_points"]["4.5"] == {"threshold": 4.5, "frr": 0.4, "far": 0.4}
    assert "at 4.5: threshold 4.5, FRR 40.000 %, FAR 40.000 %" in capsys.readouterr().out


def test_fault_01_sets_go_by_their_names():
    facts = load_facts()
    empty = {
        "min_tdcf": None,
        "per_attack": {},
        "split": None,
        "official": False,
        "n_bonafide": 1,
        "n_spoof": 2,
    }
    dev, of_eval = empty | {"eer_percent": 1.0}, empty | {"eer_percent": 2.0}
    for sets in ({"dev": dev, "eval": of_eval}, {"eval": of_eval, "dev": dev}):
        (row,) = compare({"a": sets}, facts).ours.rows
        assert (row.dev_eer_percent, row.eval_eer_percent) == ("1.000", "2.000")
    (row,) = compare({"a": {"dev": dev}}, facts).ours.rows
    assert (row.dev_eer_percent, row.eval_eer_percent) == ("1.000", None)
    official = of_eval | {"split": "eval", "official": True}
    assert compare({"a": {"eval": official}}, facts).caution is None
    # One system of other trials, or eval scores that are dev's, are enough not to compare.
    assert compare({"a": {"eval": official}, "b": {"eval": of_eval}}, facts).caution
    assert compare({"a": {"eval": official | {"split": "dev"}}}, facts).caution
    assert compare({"a": {"eval": official, "dev": dev}}, facts).caution
    assert compare({"a": {"train": of_eval}}, facts).evaluated == "train"


@pytest.mark.parametrize(
    ("configs", "averaged", "why"),
    [
        (["model: {name: a}\nseed: 1\n", "model: {name: a}\nseed: 2\n"], True, ""),
        (["model: {name: a}\nseed: 1\n", "model: {name: b}\nseed: 2\n"], False, "they differ in model.name"),
        (["model: {name: a}\nseed: 1\n", "model: {name: a}\nseed: 1\n"], False, "they have one seed, 1"),
        (["seed: 1\n", None], False, "config.yaml: no such file"),
        (["seed: 1\n", "seed: [\n"], False, "config.yaml: is no YAML"),
        (["seed: 1\n", "a: 1\n"], False, "config.yaml: names no seed"),
    ],
)
def test_fault_02_only_seeds_are_averaged(folder, capsys, configs, averaged, why):
    names = [experiment(folder, f"run{i}", config, shift=i) for i, config in enumerate(configs)]
    asvtk("--exp", *names, "--summary", "S.md", "--report", "rep")
    texts = [capsys.readouterr().out, (folder / "S.md").read_text(), (folder / "rep/RESULTS.md").read_text()]
    for text in [*texts, text_of((folder / "rep/report.html").read_text())]:
        assert ("mean ± sd" in text) == averaged and (averaged or "not averaged" in text) and why in text
    if averaged:  # 30 and 40 %
        assert all("35.000 ± 7.071" in text for text in texts)
        (folder / names[0] / "inputs.json").write_text('{"train data": "other"}')
        asvtk("--exp", *names)
        assert "they differ in train data" in capsys.readouterr().out
        third = experiment(folder, "third", "model: {name: b}\nseed: 1\n")
        (folder / names[0] / "inputs.json").unlink()
        asvtk("--exp", *names, third)
        out = capsys.readouterr().out
        assert f"mean ± sd of {', '.join(names)}" in out and "35.000 ± 7.071" in out
        asvtk("--exp", names[0], f"{names[0]}/", status=1)
        assert "named twice" in capsys.readouterr().err


def test_fault_02_score_files_are_never_averaged(folder):
    for seed in (1, 2):
        (folder / f"x{seed}.txt").write_text(write_set(folder, "eval"))
    asvtk("--scores", "x1.txt", "x2.txt", "--report", "rep")
    assert "mean ± sd" not in (folder / "rep/report.html").read_text()


def test_fault_23_dev_scores_are_of_other_trials_and_of_each_system(folder, capsys):
    one = experiment(folder, "one")
    scores, dev = f"{one}/scores/eval.txt", f"{one}/scores/dev.txt"
    for words, said in (
        (["--dev", scores], "30 utterances stand both in"),
        (["--dev", dev, dev], "2 files in --dev and 1 in --scores"),
        (["--dev-protocol", dev], "--dev-protocol does not go with no --dev"),
        (["--operating-point", "nan"], "the threshold is nan"),
        (["--operating-point=-inf"], "the threshold is -inf"),
        (["--operating-point", "1_0"], "operating point 1_0: expected"),
    ):
        asvtk("--scores", scores, *words, status=1)
        assert said in capsys.readouterr().err
    # A system whose scores mean the opposite has dev scores that do.
    for name in ("dev", "eval"):
        lines = [
            line.rsplit(" ", 1) for line in (folder / one / f"scores/{name}.txt").read_text().splitlines()
        ]
        (folder / f"{name}.txt").write_text("".join(f"{rest} {-float(score)}\n" for rest, score in lines))
    asvtk("--scores", "eval.txt", "--negate", "--dev", "dev.txt", "--json", "o.json")
    assert json.loads((folder / "o.json").read_text())["operating_points"]["dev_eer"]["far"] == 0.5
