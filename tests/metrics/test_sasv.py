"""a-DCF and t-EER: values worked out by hand, and those of the organisers' tool for its own file."""

import json

import numpy as np
import pytest

from asvtk.io.errors import AsvtkError
from asvtk.io.protocols import label, read_protocol
from asvtk.io.scores import ScoreTable, read_scores
from asvtk.metrics import evaluate
from asvtk.metrics.sasv import min_a_dcf, of_one_score, t_eer
from asvtk.metrics.tdcf import RevisitedCosts

LABELS = {"1": "target", "2": "nontarget", "0": False}


def test_a_dcf_by_hand():
    # Above 2: no nontarget, no spoof, one of four targets lost; above 0.5: one of two spoofs accepted.
    target, nontarget, spoof = np.array([1.0, 3, 4, 5]), np.array([0.0, 0.5]), np.array([-1.0, 2])
    cost, threshold = min_a_dcf(target, nontarget, spoof)
    assert cost == pytest.approx(0.9405 * 0.25 / 0.595) and threshold == 2
    cheap = RevisitedCosts(c_fa_spoof=0.1)
    cost, threshold = min_a_dcf(target, nontarget, spoof, cheap)
    assert cost == pytest.approx(0.1 * 0.05 * 0.5 / (0.095 + 0.005)) and threshold == 0.5


def test_a_system_that_decides_nothing_costs_one():
    same = np.zeros(5)
    assert min_a_dcf(same, same, same)[0] == pytest.approx(1)
    assert of_one_score(same, same, same)["sasv_eer_percent"] == 100


def test_t_eer_of_perfect_parts_is_nil():
    far = np.arange(10) * 1e-3
    assert t_eer((far + 1, far + 1, far), (far + 1, far, far + 1)).rate == 0


@pytest.mark.parametrize("seed", range(4))
def test_t_eer_is_that_of_a_plain_search(seed):
    rng = np.random.default_rng(seed)
    cm = tuple(np.round(rng.normal(mean, 1, n), 3) for mean, n in ((2, 30), (2, 40), (0, 50)))
    asv = tuple(np.round(rng.normal(mean, 1, n), 3) for mean, n in ((2, 30), (0, 40), (1, 50)))
    bonafide, spoof = np.concatenate(cm[:2]), cm[2]
    low = np.array([-99.0])
    nearest, rate = np.inf, None
    for at in np.sort(np.concatenate([low, *asv])):
        miss, fa, fa_spoof = np.mean(asv[0] <= at), np.mean(asv[1] > at), np.mean(asv[2] > at)
        best = np.inf
        for cut in np.sort(np.concatenate([low, bonafide, spoof])):
            passed, fooled = np.mean(bonafide > cut), np.mean(spoof > cut)
            gap = abs(1 - passed * (1 - miss) - (passed * fa + fooled * fa_spoof) / 2)
            if gap < best - 1e-12:
                best, point = gap, (passed, fooled)
        passed, fooled = point
        if fa_spoof and passed and abs(fa / fa_spoof - fooled / passed) < nearest - 1e-12:
            nearest, rate = abs(fa / fa_spoof - fooled / passed), fooled * fa_spoof
    assert t_eer(cm, asv).rate == pytest.approx(rate, abs=1e-12)


def test_t_eer_of_a_perfect_cm_is_the_eer_of_the_asv():
    rng = np.random.default_rng(0)
    target, nontarget = rng.normal(2, 1, 4000), rng.normal(0, 1, 4000)
    cm = (np.full(4000, 9.0), np.full(4000, 9.0), np.linspace(-1, 0, 4000))
    found = t_eer(cm, (target, nontarget, rng.normal(2, 1, 4000)))
    eer = of_one_score(target, nontarget, nontarget)["sv_eer_percent"] / 100
    assert found.rate == pytest.approx(eer, abs=2e-3)


def test_a_class_without_trials_is_refused():
    some, none = np.arange(3.0), np.empty(0)
    with pytest.raises(AsvtkError, match="at least one"):
        min_a_dcf(some, none, some)
    with pytest.raises(AsvtkError, match="at least one"):
        t_eer((some, some, none), (some, some, some))


def test_a_key_without_nontargets_has_no_a_dcf_and_says_so():
    table = ScoreTable(
        utterances=np.array(["a", "b"]),
        bonafide=np.array([True, False]),
        classes=np.array(["target", "spoof"], dtype=object),
        scores=np.array([1.0, 0.0]),
        asv_scores=np.array([1.0, 0.0]),
    )
    results = evaluate(table)
    assert results["sasv"] is None and results["min_tdcf"] is None
    assert any("no trial is nontarget" in warning for warning in results["warnings"])


def test_the_organisers_own_file(shared_data):
    corpus = shared_data / "oracles" / "cross_corpus"
    name = "asvspoof5_sasv_dev_scores_label.csv.gz"
    known = json.loads((corpus / "expected.json").read_text())[name]
    table = read_scores(corpus / name, {"score": "cm_score", "key": "sasv_label"}, LABELS)
    results = evaluate(table)
    sasv = results["sasv"]

    def near(value):
        return pytest.approx(value, rel=0, abs=1e-9)

    for ours, theirs in (("score", "a_dcf_of_cm_score"), ("asv_score", "a_dcf_of_asv_score")):
        assert sasv[ours]["a_dcf"] == near(known[theirs]["min_a_dcf"])
        assert sasv[ours]["a_dcf_threshold"] == near(known[theirs]["min_a_dcf_thresh"])
    assert sasv["t_eer_percent"] == near(known["t_eer"])
    assert results["min_tdcf_revisited"] == near(known["min_tdcf_with_own_asv"])
    assert results["min_tdcf"] == near(known["min_tdcf_legacy_with_own_asv"])
    own = known["own_asv"]
    for ours, theirs in (
        ("threshold", "threshold"), ("p_fa", "Pfa"), ("p_miss", "Pmiss"), ("p_fa_spoof", "Pfa_spoof"),
        ("p_miss_spoof", "Pmiss_spoof"),
    ):  # fmt: skip
        assert results["asv"][ours] == near(own[theirs])
    for key in ("n_bonafide", "n_spoof", "eer_threshold", "min_dcf", "min_dcf_threshold", "act_dcf", "cllr"):
        assert results[key] == near(known[key])
    assert results["eer_percent"] / 100 == near(known["eer"])
    table.scores, table.asv_scores = table.asv_scores + table.scores / 10, None  # a fused score
    fused, of_sum = evaluate(table)["sasv"], known["a_dcf_of_asv_plus_cm_over_10"]
    assert fused["score"]["a_dcf"] == near(of_sum["min_a_dcf"])
    assert fused["score"]["a_dcf_threshold"] == near(of_sum["min_a_dcf_thresh"])
    assert "asv_score" not in fused and "t_eer_percent" not in fused


def test_trials_of_track_2_are_pairs_of_speaker_and_utterance(tmp_path):
    key, scores = (
        ["s1 E_1 F - target", "s2 E_1 F - nontarget", "s1 E_2 F A17 spoof", "s2 E_2 F A17 spoof"],
        [],
    )
    for i, line in enumerate(key):
        speaker, utterance, *_ = line.split()
        scores.append(f"{utterance}\t{speaker}\t{-i}\t{i * 10}")
    (tmp_path / "key.txt").write_text("\n".join(key))
    (tmp_path / "scores.tsv").write_text("\n".join(["filename\tspk\tcm-score\tasv-score", *reversed(scores)]))
    protocol = read_protocol(tmp_path / "key.txt")
    assert protocol.classes.tolist() == ["target", "nontarget", "spoof", "spoof"]
    assert protocol.utterances.tolist() == ["s1 E_1", "s2 E_1", "s1 E_2", "s2 E_2"]
    table = label(read_scores(tmp_path / "scores.tsv"), protocol)
    assert table.scores.tolist() == [0, -1, -2, -3] and table.asv_scores.tolist() == [0, 10, 20, 30]
    assert evaluate(table)["sasv"]["n_target"] == 1
    (tmp_path / "twice.txt").write_text("\n".join([*key, key[0]]))
    with pytest.raises(AsvtkError, match="twice.txt:2: 'E_1' stands there and in line 1 already"):
        read_protocol(tmp_path / "twice.txt")
    (tmp_path / "plain.txt").write_text("s1 E_1 - - bonafide\ns2 E_1 - A17 spoof\n")
    with pytest.raises(AsvtkError, match="'E_1' stands there"):
        read_protocol(tmp_path / "plain.txt")
