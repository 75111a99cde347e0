"""The HTML page: whole, safe, self-contained, and true to the metrics."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from page_reader import Page

from asvtk.bin.main import main
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.metrics.eer import det_curve
from asvtk.metrics.results import read_results
from asvtk.report.det import TICKS, Axis, axis_for, place_tags, thin
from asvtk.report.svg import Markup, element, linear_ticks
from asvtk.report.system import System, operating_points, short_names, tag

EVAL = [f"A{i:02d}" for i in range(7, 20)]
HOSTILE = "<script>alert(1)<!--&'\""


def trials(n=650, split="E"):
    bonafide = np.arange(n) % 5 == 0
    attacks = np.where(bonafide, "-", np.resize(EVAL, n))
    return [f"LA_{split}_{i:07d}" for i in range(n)], attacks, bonafide


def write(path, seed=0, separation=2.0, names=None):
    utterances, attacks, bonafide = trials()
    scores = np.random.default_rng(seed).normal(size=len(utterances)) + separation * bonafide
    path.parent.mkdir(parents=True, exist_ok=True)
    write_scores(path, names or utterances, attacks, np.where(bonafide, "bonafide", "spoof"), scores)


def asv_file(path):
    rng = np.random.default_rng(1)
    lines = [f"bonafide target {x:.6f}" for x in rng.normal(8, 2, 200)]
    lines += [f"bonafide nontarget {x:.6f}" for x in rng.normal(0, 2, 200)]
    lines += [f"{EVAL[i % 13]} spoof {x:.6f}" for i, x in enumerate(rng.normal(5, 2, 200))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(folder, *arguments, status=0):
    assert main(["evaluate", *map(str, arguments), "--report", "report"]) == status
    return "" if status else (folder / "report" / "report.html").read_text(encoding="utf-8")


def self_contained(text):
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags
    assert not [value for name, value in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert not re.search(r"url\(|@import|@font-face|https?://", text)
    return page


def test_systems_side_by_side(folder):
    for i, name in enumerate(["one.txt", "two.txt", "three.txt"]):
        write(folder / name, seed=i, separation=-2.0 if i == 1 else 2.0)
    asv_file(folder / "asv.txt")
    page = self_contained(
        report(
            folder,
            "--scores",
            "one.txt",
            "two.txt",
            "three.txt",
            "--negate",
            "two.txt",
            "--asv-scores",
            "asv.txt",
            "--bootstrap",
            "20",
            "--operating-point",
            "far=0.1",
            "--compare",
            "one.txt",
        )  # fmt: skip
    )
    text = " ".join(page.texts)
    for words in ("one", "two", "three", "Higher score = bona fide", "min t-DCF legacy", "A07", "AASIST",
                  "95 % intervals of 20 resamples", "at far=0.1: threshold", "paired bootstrap",
                  "git revision", "Not comparable", "130 bona fide and 520 spoof", "numpy "):  # fmt: skip
        assert words in text, words
    assert "WORSE THAN CHANCE" not in text
    # one curve each, one whisker with two ends per attack and system
    classes = [value for name, value in page.attributes if name == "class"]
    assert sum(name.startswith("curve ") for name in classes) == 3
    assert sum(name.startswith("bar c") for name in classes) == classes.count("whisker") / 3 == 3 * 13
    markdown = (folder / "report" / "RESULTS.md").read_text(encoding="utf-8")
    for words in ("| one ", "Not comparable", "S3 WavLM-MoE-Mamba", "## eval", "- versions: "):
        assert words in markdown


def test_experiments_with_dev_and_eval(folder):
    for i, name in enumerate(["exp/run_seed1", "exp/run_seed2"]):
        write(folder / name / "scores/eval.txt", seed=i)
        write(folder / name / "scores/dev.txt", seed=i + 9, names=trials(split="D")[0])
        (folder / name / "config.yaml").write_text(f"model: {{name: mlp}}\nseed: {i}\n")
    page = self_contained(report(folder, "--exp", "exp/run_seed1", "exp/run_seed2"))
    text = "".join(page.texts)
    assert text.index("Set: eval") < text.index("Set: dev")
    assert text.count("run_seed2") > 4 and "mean ± sd" in text
    assert (folder / "exp/run_seed1/results.json").exists()


def test_hostile_names_stay_text(folder):
    _, attacks, bonafide = trials()
    attacks = np.where(bonafide, "-", np.char.add("<i>&", attacks))
    names = [f"{i}<script>alert(2)</script>" for i in range(650)]
    keys = np.where(bonafide, "bonafide", "spoof")
    write_scores(HOSTILE, names, attacks, keys, -1.0 * bonafide)
    page = self_contained(report(folder, "--scores", HOSTILE))
    text = "".join(page.texts)
    assert HOSTILE in text and "<i>&A07" in text and "WORSE THAN CHANCE" in text


def test_what_cannot_be_compared_is_refused(folder, capsys):
    write(folder / "a.txt")
    write(folder / "b.txt", names=[f"LA_E_{i + 1:07d}" for i in range(650)])
    for arguments, words in (
        (["a.txt", "b.txt"], "1 of its 650 trials have no score: LA_E_0000000"),
        (["a.txt", "b.txt", "--negate"], "say which of the 2 score files"),
        (["a.txt", "--negate", "b.txt"], "--negate b.txt: not among the files"),
        (["a.txt", "a.txt"], "named twice"),
        (["a.txt", "b.txt", "--json", "x"], "--json takes the values of one score file"),
    ):
        report(folder, "--scores", *arguments, status=1)
        assert words in capsys.readouterr().err
    assert not (folder / "report").exists()


@pytest.mark.parametrize("kind", ["perfect", "constant", "two trials", "huge"])
def test_degenerate_scores_have_a_page_too(folder, kind):
    utterances, attacks, bonafide = trials()
    scores = {
        "perfect": np.arange(650.0) + 1000 * bonafide,
        "constant": np.full(650, 0.5),
        "two trials": np.arange(650.0),
        "huge": np.where(bonafide, 1e300, -1e300),
    }[kind]
    n = 6 if kind == "two trials" else 650
    write_scores(
        "x.txt", utterances[:n], attacks[:n], np.where(bonafide, "bonafide", "spoof")[:n], scores[:n]
    )
    text = report(folder, "--scores", "x.txt")
    self_contained(text)
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<style>.*</style>", "", text, flags=re.S), re.I)


def test_without_attacks(folder):
    utterances, _, bonafide = trials()
    write_scores("x.txt", utterances, ["-"] * 650, np.where(bonafide, "bonafide", "spoof"), np.arange(650.0))
    assert "EER per attack" not in "".join(self_contained(report(folder, "--scores", "x.txt")).texts)


def test_official_set_beside_published_systems(shared_data, folder):
    oracles = shared_data / "oracles"
    text = report(folder, "--scores", oracles / "rawgat_st_mul.txt.gz", oracles / "air_ocsoftmax.txt.gz",
                  "--negate", oracles / "air_ocsoftmax.txt.gz", "--asv-scores",
                  oracles / "ASVspoof2019.LA.asv.eval.gi.trl.scores.txt.gz")  # fmt: skip
    page = self_contained(text)
    words = " ".join(page.texts)
    assert len(text.encode()) < 200_000
    assert "Not comparable" not in words and "the official ASVspoof 2019 LA eval set" in words
    assert words.count("1.060") >= 2 and "0.0335" in words and "AASIST" in words
    assert "rawgat_st_mul: min t-DCF legacy 0.03354" in words


def test_a_report_never_waits_for_torch_or_scipy(folder):
    write(folder / "x.txt")
    code = (
        "import sys; from asvtk.bin.main import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'scipy', 'sklearn', 'matplotlib', 'yaml'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, "evaluate", "--scores", "x.txt", "--report", "report"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith("[]\n")


# The curves


def curve_and_system(seed=0, n=(400, 3000), separation=2.5):
    rng = np.random.default_rng(seed)
    bonafide, spoof = rng.normal(separation, 1, n[0]), rng.normal(0, 1.2, n[1])
    results = {"eer_percent": 10.0, "asv": None}
    return det_curve(bonafide, spoof), System("x", 0, results, bonafide, spoof)


def test_operating_points_are_those_of_the_metrics(shared_data):
    from asvtk.io.asv_scores import read_asv_scores
    from asvtk.io.scores import read_scores
    from asvtk.metrics import evaluate

    oracles = shared_data / "oracles"
    table = read_scores(oracles / "rawgat_st_mul.txt.gz")
    asv = read_asv_scores(oracles / "ASVspoof2019.LA.asv.eval.gi.trl.scores.txt.gz")
    results = evaluate(table, asv)
    curve = det_curve(table.scores[table.bonafide], table.scores[~table.bonafide])
    points = {point.metric: point for point in operating_points(curve, results["asv"])}
    assert points["EER"].value == pytest.approx(results["eer_percent"], abs=1e-12)
    assert points["EER"].frr + points["EER"].far == pytest.approx(results["eer_percent"] / 50, abs=1e-12)
    assert points["min t-DCF legacy"].value == pytest.approx(results["min_tdcf"], abs=1e-12)
    assert points["min DCF"].value == pytest.approx(results["min_dcf"], abs=1e-12)
    assert all(curve.frr[point.cut] == point.frr for point in points.values())
    assert [point.metric for point in operating_points(curve, None)] == ["EER", "min DCF"]


def test_axis_is_monotone_and_probit():
    axis = Axis(0.001, 0.4)
    places = axis.place(np.linspace(0, 1, 1001))
    assert (np.diff(places) > 0).all() and places[0] < 0 and places[-1] > 1
    assert axis.place([0.001, 0.4]) == pytest.approx([0, 1])
    assert Axis(0.01, 0.99).place([0.5])[0] == pytest.approx(0.5)
    assert (np.diff(axis.borders(50)) > 0).all() and list(TICKS) == sorted(set(TICKS))
    _, system = curve_and_system()
    chosen = axis_for([system])
    assert chosen.low in TICKS and chosen.high in TICKS and chosen.low < 0.1 < chosen.high


def test_thinning_keeps_the_curve_and_its_operating_points():
    curve, system = curve_and_system(n=(7000, 60000))
    axis, cells = axis_for([system]), 600
    points = [point.cut for point in operating_points(curve, None)]
    cuts = thin(curve, axis, points, cells)
    assert len(cuts) < 4 * cells and np.isin(points, cuts).all() and (np.diff(cuts) > 0).all()

    def visible(values):
        at = np.stack([axis.place(curve.far[values]), axis.place(curve.frr[values])], axis=1)
        return at[((at >= 0) & (at <= 1)).all(axis=1)]

    every, kept = visible(np.arange(curve.frr.size)), visible(cuts)
    assert kept.min(axis=0) == pytest.approx(every.min(axis=0), abs=1 / cells)
    assert kept.max(axis=0) == pytest.approx(every.max(axis=0), abs=1 / cells)
    # every point left out has a kept one in its cell
    cell = {tuple(at) for at in np.floor(kept * cells).astype(int)}
    missing = [at for at in np.floor(every * cells).astype(int) if tuple(at) not in cell]
    assert len(missing) < 0.01 * len(every)


def test_letters_keep_away_from_each_other():
    line = np.linspace(0, 1, 50)
    curves = [
        np.stack([line, 1 - line], axis=1),
        np.stack([line, 0.9 - 0.9 * line], axis=1),
        np.full((3, 2), 5.0),
    ]
    first, second, none = place_tags(curves, np.array([[0.5, 0.5]]))
    assert none is None and np.hypot(*(first - second)) > 0.06 and np.hypot(*(first - 0.5)) > 0.06


def test_markup_escapes_what_is_not_markup():
    assert element("p", "<b>", Markup("<i></i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></i></p>'
    assert element("line", stroke_width=1.5, class_=None, x1=1) == '<line stroke-width="1.5" x1="1"></line>'


def test_letters_names_and_ticks():
    assert [tag(i) for i in (0, 25, 26, 52)] == ["A", "Z", "AA", "BA"]
    assert short_names(["a/x.txt.gz", "b/y.csv", "c/exp/"]) == ["x", "y", "exp"]
    assert short_names(["a/x.txt", "b/x.txt"]) == ["a/x.txt", "b/x.txt"]
    assert linear_ticks(-1.02, 1.02) == pytest.approx([-1, -0.5, 0, 0.5, 1]) and linear_ticks(2, 2) == [2]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "scores", [[9e299, -9e299], [-9e299, 9e299], [9e299] * 2, [1e-323, 5e-324], [1e16, 1e16 + 2]]
)
def test_fault_19_scores_of_any_size_have_a_report(folder, capsys, scores):
    write_scores("x.txt", ["a", "b"], ["-", "X|<script>`"], ["bonafide", "spoof"], scores)
    text = report(folder, "--scores", "x.txt", "--json", "o.json")
    self_contained(text)
    markdown = (folder / "report" / "RESULTS.md").read_text()
    for said in (re.sub(r"<style>.*</style>", "", text, flags=re.S), markdown, capsys.readouterr().out):
        assert not re.search(r"\b(nan|inf)\b|\d{40}", said, re.I)
    assert "| X\\|\\<script>\\` |" in markdown
    assert json.loads((folder / "o.json").read_text())["eer_percent"] == (
        0.0 if scores[0] > scores[1] else 100.0
    )


@pytest.mark.parametrize("content", ["[]", "{}", "{", '{"eval": 3}', '{"eval": {"eer_percent": "x"}}',
                                     '{"eval": {"eer_percent": 1, "per_kind": []}}'])  # fmt: skip
def test_bad_results_are_one_line(folder, content):
    (folder / "results.json").write_text(content)
    with pytest.raises(AsvtkError, match="results.json: "):
        read_results(folder / "results.json")
