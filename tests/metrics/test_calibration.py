"""Calibration and fusion against what is known of them in theory, and every refusal and warning."""

import dataclasses
import json
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable, read_scores
from asvtk.metrics.calibration import (
    Calibration,
    effective_prior,
    min_cllr,
    pav_llr,
    quality,
    train_calibration,
    trials_digest,
)
from asvtk.metrics.dcf import ASVSPOOF_5, DcfCosts, cllr
from asvtk.metrics.eer import compute_eer, det_curve, rocch_eer

#: Few different values, so that there are ties within and across the classes.
LATTICE = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


@pytest.fixture(autouse=True)
def a_warning_of_scikit_learn_is_a_fault():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def table(bonafide, spoof, source="dev.txt"):
    n = len(bonafide) + len(spoof)
    return ScoreTable(
        utterances=np.array([f"LA_D_{i:07d}" for i in range(n)]),
        bonafide=np.arange(n) < len(bonafide),
        source=source,
        scores=np.concatenate([bonafide, spoof]).astype(float),
    )


def gaussian(seed=0, separation=3.0, n_bonafide=400, n_spoof=1600, source="dev.txt"):
    rng = np.random.default_rng(seed)
    return table(rng.normal(separation, 1, n_bonafide), rng.normal(0, 1, n_spoof), source)


def with_scores(of_system: ScoreTable, scores) -> ScoreTable:
    return dataclasses.replace(of_system, scores=np.asarray(scores, float))


def llr_of(*tables, **how):
    return train_calibration(list(tables), **how).apply([one.scores for one in tables])


def test_the_default_prior_is_that_of_asvspoof_5():
    assert effective_prior() == 0.95 / 1.45
    prior = effective_prior(DcfCosts(p_spoof=0.2, c_miss=3.0, c_fa=7.0))
    assert -np.log(prior / (1 - prior)) == pytest.approx(DcfCosts(0.2, 3.0, 7.0).threshold)
    assert train_calibration([gaussian()]).prior == effective_prior(ASVSPOOF_5)


@pytest.mark.parametrize("prior", [0.1, 0.5, None])
def test_gaussian_scores_get_their_known_llr(prior):
    from scipy.stats import norm

    # quantiles: samples without sampling noise
    many, few = (norm.ppf((np.arange(n) + 0.5) / n) for n in (40000, 20000))
    high, low, sd = 5.0, 2.0, 1.5
    trained = train_calibration([table(high + sd * few, low + sd * many)], prior=prior)
    assert trained.weights[0] == pytest.approx((high - low) / sd**2, rel=2e-3)
    assert trained.offset == pytest.approx((low**2 - high**2) / (2 * sd**2), rel=2e-3)


def test_the_optimum_of_the_documented_cost_is_reached():
    one, other = gaussian(0), gaussian(1, separation=2.0)
    trained = train_calibration([one, other], prior=0.3)
    x = trained.apply([one.scores, other.scores]) + np.log(0.3 / 0.7)
    of_trial = np.where(one.bonafide, -0.3 / 400 / (1 + np.exp(x)), 0.7 / 1600 / (1 + np.exp(-x)))
    gradient = [of_trial.sum(), of_trial @ one.scores, of_trial @ other.scores]
    assert np.abs(gradient).max() < 1e-7  # the ridge of 1e-8 is all that is left


@pytest.mark.parametrize("scale, shift", [(1e-6, 0), (1e9, -3e9), (0.37, 1e4), (1e-200, 0), (1e200, 1e200)])
def test_affine_changes_of_the_scores_cancel(scale, shift):
    one, other = gaussian(0), gaussian(1)
    changed = with_scores(one, scale * one.scores + shift)
    np.testing.assert_allclose(llr_of(changed), llr_of(one), rtol=0, atol=1e-9)
    np.testing.assert_allclose(llr_of(changed, other), llr_of(one, other), rtol=0, atol=1e-9)


def test_the_number_of_trials_of_a_class_does_not_matter():
    bonafide, spoof = np.split(gaussian().scores, [400])
    once, thrice = (train_calibration([table(bonafide, np.tile(spoof, n))]) for n in (1, 3))
    assert thrice.weights + (thrice.offset,) == pytest.approx(once.weights + (once.offset,), rel=1e-9)


def test_calibration_of_one_system_keeps_the_eer_and_mends_cllr_and_act_dcf():
    one = with_scores(gaussian(), gaussian().scores * 4 - 3)
    before, after = (quality(scores, one.bonafide) for scores in (one.scores, llr_of(one)))
    for same in ("eer_percent", "min_dcf", "min_cllr"):
        assert after[same] == before[same]
    assert after["min_cllr"] < after["cllr"] < 0.5 * before["cllr"]
    assert after["min_dcf"] <= after["act_dcf"] < before["act_dcf"]


@pytest.mark.parametrize("seed", range(5))
def test_cllr_never_rises_on_dev_at_the_prior_that_cllr_is_of(seed):
    rng = np.random.default_rng(seed)  # skewed scores, for which no line is right
    one = table(rng.gamma(4, 1, 60), rng.gamma(2, 1, 300))
    calibrated = one
    for _ in range(2):  # the second time the scores are as good as a line can make them
        before = quality(calibrated.scores, one.bonafide)["cllr"]
        calibrated = with_scores(one, llr_of(calibrated, prior=0.5))
        after = quality(calibrated.scores, one.bonafide)
        assert after["min_cllr"] <= after["cllr"] <= before + 1e-12


def test_fusion_of_complementary_systems_beats_each():
    train = [gaussian(seed, 2.5, source=f"{seed}") for seed in (1, 2)]
    test = [gaussian(seed, 2.5) for seed in (3, 4)]
    fusion = train_calibration(train)
    fused = quality(fusion.apply([one.scores for one in test]), test[0].bonafide)
    assert fusion.systems == ("1", "2") and not fusion.warnings
    for k in (0, 1):
        alone = quality(train_calibration([train[k]]).apply([test[k].scores]), test[k].bonafide)
        for measure in ("eer_percent", "min_dcf", "act_dcf", "cllr"):
            assert fused[measure] < 0.8 * alone[measure]


def test_a_system_given_twice_adds_nothing():
    one = gaussian()
    np.testing.assert_allclose(llr_of(one, one), llr_of(one), rtol=0, atol=1e-4)


def test_same_input_gives_the_same_bits_and_json_keeps_them(tmp_path):
    tables = [gaussian(0, source="a/dev.txt"), gaussian(1, source="b/dev.txt")]
    scores = np.stack([gaussian(seed).scores for seed in (7, 8)])
    first, second = (train_calibration(tables, negate=[False, False]) for _ in range(2))
    assert first == second
    first.save(tmp_path / "new" / "model.json")
    loaded = Calibration.load(tmp_path / "new" / "model.json")
    assert loaded == first and loaded.dev.n_spoof == 1600
    assert loaded.apply(scores).tobytes() == first.apply(scores).tobytes()
    assert loaded.apply(scores[:, 5:6])[0] == first.apply(scores)[5]  # other trials do not matter


def test_statistics_of_dev_are_those_of_the_calibrated_scores():
    one = gaussian()
    trained = train_calibration([one])
    found = {"n_bonafide": 400, "n_spoof": 1600, "trials": trials_digest(one.utterances[::-1])}
    assert vars(trained.dev) == found | quality(trained.apply([one.scores]), one.bonafide)


# PAV


def isotonic_by_definition(bonafide, spoof):
    """Share of bona fide at each value: the largest, over starts, of the smallest mean, over ends."""
    values = np.unique(bonafide + spoof)
    counts = np.array([[of_class.count(value) for value in values] for of_class in (bonafide, spoof)])

    def share(a, b):
        n_bonafide, n_spoof = counts[:, a : b + 1].sum(axis=1)
        return n_bonafide / (n_bonafide + n_spoof)

    n = len(values)
    return {
        value: max(min(share(a, b) for b in range(i, n)) for a in range(i + 1))
        for i, value in enumerate(values)
    }


@given(LATTICE, LATTICE)
def test_pav_agrees_with_its_definition_and_never_falls(bonafide, spoof):
    llr = np.concatenate(pav_llr(bonafide, spoof))
    share = np.array([isotonic_by_definition(bonafide, spoof)[score] for score in bonafide + spoof])
    with np.errstate(divide="ignore"):
        expected = np.log(share / (1 - share)) - np.log(len(bonafide) / len(spoof))
    np.testing.assert_allclose(llr, expected, rtol=0, atol=1e-9)
    in_order = llr[np.argsort(bonafide + spoof, kind="stable")]
    assert all(later >= earlier - 1e-12 for earlier, later in zip(in_order, in_order[1:], strict=False))


@given(LATTICE, LATTICE)
def test_min_cllr_is_a_lower_bound_that_only_ranks_decide(bonafide, spoof):
    bonafide, spoof = np.array(bonafide), np.array(spoof)
    least = min_cllr(bonafide, spoof)
    assert 0 <= least <= 1 + 1e-12
    assert least == min_cllr(np.exp(bonafide), np.exp(spoof)) == min_cllr(bonafide**3 - 7, spoof**3 - 7)
    for scale, shift in ((1, 0), (0.3, 0.5), (2, -1)):
        assert least <= cllr(scale * bonafide + shift, scale * spoof + shift) + 1e-12


def test_min_cllr_of_perfect_useless_and_flipped_scores():
    assert min_cllr([2, 3], [0, 1]) == 0
    assert min_cllr([1, 1], [1, 1, 1]) == pytest.approx(1)
    assert min_cllr([0, 1], [2, 3]) == pytest.approx(1)
    with pytest.raises(AsvtkError, match="0 bona fide and 2 spoof"):
        min_cllr([], [1, 2])


# Refusals and warnings


def test_separable_dev_stays_finite_and_warns():
    rng = np.random.default_rng(0)
    apart = table(rng.normal(20, 1, 50), rng.normal(-20, 1, 200))
    trained = train_calibration([apart])
    assert "dev.txt: the two classes are separated without an error" in trained.warnings[0]
    llr = trained.apply([apart.scores])
    assert llr[:50].min() > 1 and llr[50:].max() < -1 and np.abs(llr).max() < 100
    # neither system separates alone, their sum does; and two values alone
    x, y = rng.normal(size=(2, 250))
    y += np.where(np.arange(250) < 50, 1, -1) * 3 - x
    assert (
        "x, y: the two classes are sep"
        in train_calibration([table(x[:50], x[50:], "x"), table(y[:50], y[50:], "y")]).warnings[-1]
    )
    assert train_calibration([table([1.0], [0.0])]).warnings
    assert train_calibration([table([1.0, 1.0, 2.0], [0.0, 1.0])]).warnings  # a tie on the border
    assert not train_calibration([gaussian()]).warnings


def test_wrong_polarity_of_a_single_system_is_refused_unless_declared():
    one = gaussian()
    flipped = with_scores(one, -one.scores)
    with pytest.raises(AsvtkError, match=r"dev.txt: bona fide .* no higher than spoofs .*-.*--negate"):
        train_calibration([flipped])
    with pytest.raises(AsvtkError, match="--negate"):
        train_calibration([one], negate=[True])
    with pytest.raises(AsvtkError, match="no higher than spoofs"):
        train_calibration([table([0.0, 1.0], [0.0, 1.0])])
    declared = train_calibration([flipped], negate=[True])
    assert declared.negated == (True,) and declared.weights[0] < 0  # for the scores as they are
    assert declared.apply([flipped.scores]).tobytes() == llr_of(one).tobytes()


def test_negative_weights_of_a_fusion_are_told_apart():
    one, other = gaussian(0, source="a"), gaussian(1, source="b")
    flipped = with_scores(other, -other.scores)
    trained = train_calibration([one, flipped])
    assert len(trained.warnings) == 1
    assert "b has the negative weight" in trained.warnings[0] and "--negate 2" in trained.warnings[0]
    np.testing.assert_allclose(trained.apply([one.scores, flipped.scores]), llr_of(one, other), atol=1e-9)

    noise = np.random.default_rng(5).normal(size=2000) * 2
    noisy = with_scores(one, one.scores + noise)  # the second system knows the noise of the first
    helper = with_scores(one, 0.5 * one.bonafide + noise)
    helper.source = "c"
    (warning,) = train_calibration([noisy, helper]).warnings
    assert "c has the negative weight" in warning and "only corrects the others" in warning


def test_unusable_dev_scores_are_refused():
    one = gaussian()
    holed = one.scores.copy()
    holed[[3, 5]] = np.nan, np.inf
    unlabelled = with_scores(one, one.scores)
    unlabelled.bonafide = None
    one_class = with_scores(one, one.scores)
    one_class.bonafide = np.ones(2000, bool)
    for tables, words in (
        ([with_scores(one, holed)], r"dev.txt: 2 of 2000 .* LA_D_0000003 \(nan\), LA_D_0000005 \(inf\)"),
        ([one, with_scores(one, holed)], "nan or infinite"),
        ([unlabelled], "no labels.*--dev-protocol"),
        ([one_class], "all 2000 trials are bona fide; training needs both"),
        ([one, with_scores(one, np.full(2000, 0.7))], r"all 2000 scores are equal \(0.7\)"),
        ([one, gaussian(n_spoof=1599, source="b")], "b and dev.txt: not the same trials"),
    ):
        with pytest.raises(AsvtkError, match=words):
            train_calibration(tables)
    for prior in (0, 1, -0.5, float("nan")):
        with pytest.raises(AsvtkError, match="prior"):
            train_calibration([one], prior=prior)
    with pytest.raises(AsvtkError, match="one sign per system"):
        train_calibration([one], negate=[True, False])


def test_unusable_scores_are_not_calibrated():
    fusion = train_calibration([gaussian(0, source="a"), gaussian(1, source="b")])
    for scores in (np.zeros(2), np.zeros((3, 5)), np.zeros((1, 5))):
        with pytest.raises(AsvtkError, match=r"expected \(2, trials\), a row for each of a, b"):
            fusion.apply(scores)
    with pytest.raises(AsvtkError, match=r"1 of 4 scores .* system 2, trial 1 \(nan\)"):
        fusion.apply([[0, 1], [np.nan, 1]])


def test_without_scikit_learn_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(AsvtkError, match="pip install scikit-learn"):
        train_calibration([gaussian()])


def test_only_the_json_of_a_calibration_is_loaded(tmp_path):
    path = tmp_path / "model.json"
    with pytest.raises(AsvtkError, match="no such file"):
        Calibration.load(path)
    path.write_text("LA_E_1 - bonafide 0.5\n")
    with pytest.raises(AsvtkError, match="is no JSON"):
        Calibration.load(path)
    train_calibration([gaussian()]).save(path)
    good = json.loads(path.read_text())
    for change, words in (
        ({"weight": 1.0}, "unknown key 'weight'; did you mean 'weights'"),
        ({"weights": [1.0, 2.0]}, "one entry per system"),
        ({"weights": [float("nan")]}, "no JSON that asvtk reads: NaN"),
        ({"prior": 1.5}, "between 0 and 1"),
        ({"offset": "much"}, "expected a number"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(AsvtkError, match=words):
            Calibration.load(path)


def test_fault_19_llrs_are_finite_or_refused():
    one = gaussian()
    largest = with_scores(one, one.scores * (1.7e308 / np.abs(one.scores).max()))
    np.testing.assert_allclose(llr_of(largest), llr_of(one), rtol=0, atol=1e-9)
    with pytest.raises(AsvtkError, match="1 trials leave the range of a double"):
        train_calibration([with_scores(one, one.scores * 1e-300)]).apply([[1.0, 1e20]])


# Published systems: train on one half of the trials, judge on the other


@pytest.fixture(scope="module")
def halves(shared_data):
    rawgat, oc_softmax = (
        read_scores(shared_data / "oracles" / name)
        for name in ("rawgat_st_mul.txt.gz", "air_ocsoftmax.txt.gz")
    )
    assert np.array_equal(rawgat.utterances, oc_softmax.utterances)
    odd = np.random.default_rng(0).permutation(rawgat.scores.size) % 2 == 1
    return [[system.subset(half) for system in (rawgat, oc_softmax)] for half in (odd, ~odd)]


def test_published_systems_calibrated(halves):
    dev, test = halves
    bonafide = test[0].bonafide
    for k, (closeness, negate) in enumerate(((1.05, False), (1.35, True))):
        sign = -1 if negate else 1
        trained = train_calibration([dev[k]], negate=[negate])
        before = quality(sign * test[k].scores, bonafide)
        after = quality(trained.apply([test[k].scores]), bonafide)
        assert after["eer_percent"] == before["eer_percent"]
        assert after["min_dcf"] <= after["act_dcf"] < closeness * after["min_dcf"] < before["act_dcf"]
        assert after["min_cllr"] == before["min_cllr"] < after["cllr"] < before["cllr"]


def test_published_systems_fused(halves):
    dev, test = halves
    fusion = train_calibration(dev, negate=[False, True])
    assert not fusion.warnings
    fused = quality(fusion.apply([one.scores for one in test]), test[0].bonafide)
    assert fused["act_dcf"] < 1.2 * fused["min_dcf"]
    for one, sign in zip(test, (1, -1), strict=True):
        alone = quality(sign * one.scores, one.bonafide)
        assert fused["eer_percent"] < 0.6 * alone["eer_percent"]
        assert fused["min_cllr"] < 0.6 * alone["min_cllr"]


def test_min_cllr_and_rocch_eer_see_the_same_hull(halves):
    """PAV merges the very scores between two corners of the ROC's convex hull."""
    one = halves[0][0]
    bonafide, spoof = one.scores[one.bonafide], one.scores[~one.bonafide]
    curve, of_pav = (
        det_curve(bonafide, spoof),
        det_curve(*(llr.clip(-99, 99) for llr in pav_llr(bonafide, spoof))),
    )
    hull = rocch_eer(curve.frr, curve.far)
    assert rocch_eer(of_pav.frr, of_pav.far) == pytest.approx(hull, abs=1e-9)
    assert hull < compute_eer(bonafide, spoof)[0]
