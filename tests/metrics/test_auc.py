"""AUC, DeLong's interval and test; the grouped bootstrap; one system across corpora."""

import numpy as np
import pytest

from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics import evaluate
from asvtk.metrics.across import across_corpora
from asvtk.metrics.auc import auc, delong_test
from asvtk.metrics.bootstrap import clusters_of, paired_test, strata_of
from asvtk.metrics.eer import compute_eer
from asvtk.report.values import measured_lines


def trials(n=400, seed=0, separation=1.5, speakers=20):
    rng = np.random.default_rng(seed)
    bonafide = np.arange(n) % 2 == 0
    speaker = rng.integers(0, speakers, n)
    of_speaker = rng.normal(size=speakers)
    return ScoreTable(
        utterances=np.array([f"u{seed}_{i}" for i in range(n)], dtype=object),
        bonafide=bonafide,
        columns={"speaker": np.array([f"s{i}" for i in speaker], dtype=object)},
        source=f"{seed}.txt",
        scores=rng.normal(size=n) + separation * bonafide + of_speaker[speaker],
    )


def pairs(bonafide, spoof):
    """DeLong's kernel of all pairs, as the paper writes it."""
    return (bonafide[:, None] > spoof) + 0.5 * (bonafide[:, None] == spoof)


def test_auc_and_its_variance_are_those_of_all_pairs():
    rng = np.random.default_rng(1)
    bonafide, spoof = np.round(rng.normal(1, 1, 40), 1), np.round(rng.normal(0, 1, 60), 1)  # with ties
    kernel = pairs(bonafide, spoof)
    found = auc(bonafide, spoof)
    assert found.value == pytest.approx(kernel.mean())
    expected = kernel.mean(1).var(ddof=1) / 40 + kernel.mean(0).var(ddof=1) / 60
    assert found.variance == pytest.approx(expected)
    low, high = found.interval
    assert low == pytest.approx(found.value - 1.959964 * expected**0.5, abs=1e-7) and low < found.value < high


def test_auc_by_hand_and_at_its_ends():
    # of the four pairs three are in order
    assert auc(np.array([1.0, 3]), np.array([0.0, 2])).value == 0.75
    assert auc(np.ones(3), np.ones(3)).value == 0.5
    perfect = auc(np.array([2.0, 3]), np.array([0.0, 1]))
    assert perfect.value == 1 and perfect.interval == [1, 1]
    assert auc(np.array([1.0]), np.array([0.0])).interval == [1, 1]
    with pytest.raises(AsvtkError, match="0 bona fide and 1 spoof"):
        auc(np.empty(0), np.ones(1))


def test_delong_test_is_that_of_all_pairs():
    a, b = trials(), trials()
    b.scores = b.scores + np.random.default_rng(5).normal(size=400) * 0.7
    kernels = [pairs(t.scores[t.bonafide], t.scores[~t.bonafide]) for t in (a, b)]
    difference = kernels[0] - kernels[1]
    variance = difference.mean(1).var(ddof=1) / 200 + difference.mean(0).var(ddof=1) / 200
    found = delong_test(a.scores, b.scores, a.bonafide)
    assert found["difference"] == pytest.approx(difference.mean())
    assert found["auc"] == pytest.approx([kernel.mean() for kernel in kernels])
    z = difference.mean() / variance**0.5
    # by the normal distribution's own series, not by erfc
    x = np.linspace(-abs(z), abs(z), 200_001)
    inside = np.trapezoid(np.exp(-(x**2) / 2), x) / np.sqrt(2 * np.pi)
    assert found["p_value"] == pytest.approx(1 - inside, abs=1e-8)
    same = delong_test(a.scores, 2 * a.scores, a.bonafide)
    assert same["difference"] == 0 and same["p_value"] == 1


def test_groups_are_drawn_whole_and_widen_the_intervals():
    table = trials()
    single = evaluate(table, bootstrap=200, seed=3)
    grouped = evaluate(table, bootstrap=200, seed=3, bootstrap_by="speaker")
    assert grouped == evaluate(table, bootstrap=200, seed=3, bootstrap_by="speaker")
    assert grouped["bootstrap"] == single["bootstrap"] | {"by": "speaker", "groups": 20}

    def width(results):
        low, high = results["intervals"]["eer_percent"]
        return high - low

    assert width(grouped) > 1.1 * width(single)
    assert any(
        "200 resamples of whole groups by speaker, of 20 groups" in line
        for line in measured_lines("", grouped)
    )


def test_groups_of_one_trial_each_are_the_plain_bootstrap_of_each_class():
    table = trials()
    table.columns["own"] = table.utterances
    grouped = evaluate(table, bootstrap=300, bootstrap_by="own")["intervals"]["eer_percent"]
    assert grouped == pytest.approx(evaluate(table, bootstrap=300)["intervals"]["eer_percent"], abs=1.5)


def test_a_trial_without_value_is_in_the_group_of_its_own_name():
    seeds = np.array(["-", "E_1", "-", "E_1"], dtype=object)
    groups = clusters_of(seeds, np.array(["E_1", "E_2", "E_3", "E_4"], dtype=object))
    assert groups[0] == groups[1] == groups[3] != groups[2]


def test_attacks_that_a_resample_may_lack_have_no_interval():
    table = trials()
    table.attacks = np.where(table.bonafide, "-", np.where(table.columns["speaker"] == "s3", "A01", "A02"))
    results = evaluate(table, bootstrap=100, bootstrap_by="speaker")
    assert "intervals" not in results["per_attack"]["A01"]
    assert results["per_attack"]["A02"]["intervals"]["eer_percent"] and results["intervals"]


def test_one_group_or_no_such_column_is_refused():
    table = trials()
    table.columns["language"] = np.full(400, "en", object)
    with pytest.raises(AsvtkError, match=r"all trials are in one group \(en\)"):
        evaluate(table, bootstrap=100, bootstrap_by="language")
    with pytest.raises(AsvtkError, match="no column 'room' to resample by; there are: speaker, language"):
        evaluate(table, bootstrap=100, bootstrap_by="room")


def test_paired_test_by_groups():
    table = trials()
    clusters = clusters_of(table.columns["speaker"], table.utterances)
    strata = strata_of(table.bonafide, None)
    worse = table.scores - 1.5 * table.bonafide
    found = paired_test(table.scores, worse, table.bonafide, strata, resamples=100, seed=0, clusters=clusters)
    assert found["interval"][1] < 0 and found["p_value"] < 0.05


def test_across_corpora():
    tables = {"easy": trials(300, 1, 3.0), "hard": trials(500, 2, 0.5)}
    tables["hard"].scores -= 4  # a threshold for both is worse than one for each
    found = across_corpora(tables, bootstrap=100, seed=1)
    eers = {
        name: 100 * compute_eer(table.scores[table.bonafide], table.scores[~table.bonafide])[0]
        for name, table in tables.items()
    }
    assert found["per_corpus"] == eers and found["worst"] == {"corpus": "hard", "eer_percent": eers["hard"]}
    assert found["macro_eer_percent"] == sum(eers.values()) / 2
    together = [np.concatenate([t.scores[t.bonafide == of] for t in tables.values()]) for of in (True, False)]
    assert found["pooled_eer_percent"] == 100 * compute_eer(*together)[0] > found["macro_eer_percent"]
    for name in ("pooled_eer_percent", "macro_eer_percent"):
        low, high = found["intervals"][name]
        assert low < found[name] < high
    assert found == across_corpora(tables, bootstrap=100, seed=1)
    assert "intervals" not in across_corpora(tables)
    with pytest.raises(AsvtkError, match="no corpus"):
        across_corpora({})
    with pytest.raises(AsvtkError, match="half .1.txt.: expected labelled"):
        across_corpora({"half": tables["easy"].subset(tables["easy"].bonafide)})
