"""Breakdowns, intervals, the paired test, and what `evaluate` refuses or warns of."""

import json

import numpy as np
import pytest

from asvtk.io.asv_scores import AsvScores
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics import evaluate
from asvtk.metrics.bootstrap import bootstrap_intervals, paired_test, resample_counts, strata_of
from asvtk.metrics.breakdown import by_column
from asvtk.metrics.calibration import quality, train_calibration
from asvtk.metrics.eer import compute_eer, eer
from asvtk.report.values import measured_lines


def trials(n=300, seed=0, separation=2.0):
    rng = np.random.default_rng(seed)
    bonafide = np.arange(n) % 3 == 0
    attacks = np.where(bonafide, "-", np.array(["A07", "A13", "A17", "A19"])[rng.integers(0, 4, n)])
    return ScoreTable(
        utterances=np.array([f"LA_E_{i}" for i in range(n)]),
        bonafide=bonafide,
        attacks=attacks,
        columns={"speaker": np.array(["s1", "s2", "s3", "s4"])[np.arange(n) % 4]},
        source="scores.txt",
        scores=rng.normal(size=n) + separation * bonafide,
    )


def asv(*attacks):
    rng = np.random.default_rng(1)
    return AsvScores(
        rng.normal(4, 1, 99), rng.normal(0, 1, 99), rng.normal(3, 1, 99), frozenset(attacks), "asv.txt"
    )


def test_results_hold_what_results_json_promises():
    results = evaluate(trials(), asv("A07"), kinds={"A07": "TTS", "A13": "TTS_VC", "A17": "VC", "A19": "VC"})
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert {
        "eer_percent", "eer_rocch_percent", "min_tdcf", "min_tdcf_revisited", "min_dcf", "act_dcf", "cllr",
        "threshold", "eer_threshold", "min_dcf_threshold", "auc", "auc_interval",
        "n_bonafide", "n_spoof", "per_attack", "per_kind", "per_known", "C0_C1_C2", "asv",
        "warnings",
    } == results.keys()  # fmt: skip
    assert results["per_attack"]["A13"]["kind"] == "TTS_VC"
    assert list(results["per_kind"]) == ["TTS", "TTS_VC", "VC"]
    assert results["warnings"] == []


def test_a_calibration_of_dev_is_judged_beside_the_raw_scores():
    dev, table = trials(seed=1), trials()
    calibration = train_calibration([dev], prior=0.5)
    results = evaluate(table, calibration=calibration)
    llr = calibration.apply(table.scores[None])
    expected = quality(llr, table.bonafide)
    found = results["calibrated"]
    assert (found["act_dcf"], found["cllr"]) == pytest.approx((expected["act_dcf"], expected["cllr"]))
    assert found["cllr"] < results["cllr"] and found["prior"] == 0.5
    assert found["frr"] == np.mean(llr[table.bonafide] <= 0)
    assert found["far"] == np.mean(llr[~table.bonafide] > 0)
    (line,) = measured_lines("eval", results)
    assert line.startswith(f"eval with dev's calibration: act DCF {found['act_dcf']:.4f} (uncalibrated ")
    assert f"Cllr {found['cllr']:.4f} (uncalibrated {results['cllr']:.4f})" in line


def test_each_breakdown_is_the_eer_of_its_trials():
    table = trials()
    known = {"known": ["A19", "A06"], "unknown": ["A07", "A13", "A17"], "unheard": ["A99"]}
    results = evaluate(table, known=known, by=["speaker"])
    bonafide, spoof = table.scores[table.bonafide], ~table.bonafide

    def of(mask, bonafide=bonafide):
        return 100 * compute_eer(bonafide, table.scores[mask & spoof])[0]

    assert results["per_attack"]["A17"]["eer_percent"] == of(table.attacks == "A17")
    assert results["per_known"]["unknown"]["eer_percent"] == of(table.attacks != "A19")
    assert results["per_known"].keys() == {"known", "unknown"}
    second = table.columns["speaker"] == "s2"
    assert results["per_speaker"]["s2"]["eer_percent"] == of(second, table.scores[second & table.bonafide])
    assert results["min_tdcf"] is None and results["per_attack"]["A07"]["min_tdcf"] is None


def test_a_column_that_tells_of_spoofs_only_shares_the_bonafide_trials():
    bonafide = np.array([True, True, False, False])
    groups = by_column(np.array(["-", "-", "wavenet", "world"]), bonafide)
    assert groups.keys() == {"wavenet", "world"} and groups["world"].bonafide.tolist() == [0, 1]


def test_a_speaker_of_one_class_has_no_eer():
    table = trials()
    table.columns["speaker"] = np.where(table.bonafide, "s1", "s2")
    table.columns["speaker"][-1] = "s1"
    results = evaluate(table, by=["speaker"])
    assert results["per_speaker"]["s2"]["eer_percent"] is None


def test_unknown_column_is_refused():
    with pytest.raises(AsvtkError, match="no column 'codec'.*there are: speaker"):
        evaluate(trials(), by=["codec"])


def test_one_class_only_is_refused():
    table = trials()
    with pytest.raises(AsvtkError, match="all 200 trials are spoof"):
        evaluate(table.subset(~table.bonafide))
    with pytest.raises(AsvtkError, match="all 100 trials are bona fide"):
        evaluate(table.subset(table.bonafide))


def test_unlabelled_scores_are_refused():
    table = trials()
    table.bonafide = None
    with pytest.raises(AsvtkError, match="--protocol or --data"):
        evaluate(table)


def test_asv_scores_of_another_set_are_refused():
    with pytest.raises(
        AsvtkError, match="asv.txt holds ASV scores of the attacks A01, A06.*belong to another set"
    ):
        evaluate(trials(), asv("A01", "A06"))


def test_wrong_polarity_is_said_loudly_and_not_mended():
    table = trials()
    right = evaluate(table)["eer_percent"]
    table.scores = -table.scores
    results = evaluate(table)
    assert results["eer_percent"] > 80 and results["eer_percent"] == pytest.approx(100 - right)
    assert "WORSE THAN CHANCE" in results["warnings"][0] and "--negate" in results["warnings"][0]


def test_constant_and_saturated_scores_are_warned_of():
    table = trials()
    table.scores = np.full(300, 0.5)
    results = evaluate(table)
    assert results["eer_percent"] == 100
    assert len(results["warnings"]) == 1 and "all 300 scores are equal (0.5)" in results["warnings"][0]
    table.scores = np.round(trials().scores)
    assert "different scores among 300 trials" in evaluate(table)["warnings"][0]


def test_spoofs_without_attack_id_are_counted_and_said():
    table = trials()
    n = np.count_nonzero(table.attacks == "A07")
    table.attacks[table.attacks == "A07"] = "-"
    results = evaluate(table)
    assert f"{n} of 200 spoofs have no attack id" in results["warnings"][0]
    assert "A07" not in results["per_attack"] and results["n_spoof"] == 200
    table.attacks = np.full(300, "-")
    assert evaluate(table)["warnings"] == []  # no attack ids at all: nothing is missing from the table


def test_evaluate_leaves_the_table_alone():
    table = trials()
    before = table.scores.copy()
    evaluate(table)
    assert (table.scores == before).all() and table.utterances[0] == "LA_E_0"


def test_resampling_keeps_every_stratum_and_the_seed():
    table = trials()
    strata = strata_of(table.bonafide, table.attacks)
    first, again, other = (next(resample_counts(strata, 2, seed)).copy() for seed in (3, 3, 4))
    assert (first == again).all() and (first != other).any()
    assert (np.bincount(strata, first) == np.bincount(strata)).all()


def test_bootstrap_is_the_statistic_of_each_resample():
    table = trials()
    table.scores = np.round(table.scores, 1)  # ties
    strata = strata_of(table.bonafide, table.attacks)
    drawn = []
    for counts in resample_counts(strata, 40, 7):
        picked = np.repeat(np.arange(300), counts)
        b = table.bonafide[picked]
        drawn.append(compute_eer(table.scores[picked][b], table.scores[picked][~b])[0])
    intervals = bootstrap_intervals(
        table.scores, table.bonafide, strata, {"all": np.arange(300)},
        {"eer": lambda frr, far: eer(frr, far)[0]}, resamples=40, seed=7,
    )  # fmt: skip
    assert intervals["all"]["eer"] == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))))


def test_intervals_hold_the_value_and_repeat():
    table = trials(900)
    results = evaluate(table, asv("A07"), bootstrap=200, seed=5)
    low, high = results["intervals"]["eer_percent"]
    assert low < results["eer_percent"] < high
    assert results["intervals"].keys() == {"eer_percent", "min_tdcf", "min_tdcf_revisited"}
    assert results["per_attack"]["A07"]["intervals"]["min_tdcf"][0] >= 0
    assert results == evaluate(table, asv("A07"), bootstrap=200, seed=5)
    with pytest.raises(AsvtkError, match="ask for 1000"):
        evaluate(table, bootstrap=1)


def test_paired_test_tells_a_better_system_from_the_same():
    table = trials(600)
    strata = strata_of(table.bonafide, table.attacks)
    worse = table.scores - 1.0 * table.bonafide
    test = paired_test(table.scores, worse, table.bonafide, strata, resamples=200, seed=0)
    assert test["difference_percent"] < 0 and test["interval"][1] < 0 and test["p_value"] < 0.02
    same = paired_test(table.scores, 2 * table.scores, table.bonafide, strata, resamples=200, seed=0)
    assert same == {"difference_percent": 0, "interval": [0, 0], "p_value": 1}
