"""EER, t-DCF and DCF against their definitions, written out threshold by threshold."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asvtk.io.errors import AsvtkError
from asvtk.metrics.dcf import act_dcf, cllr, min_dcf
from asvtk.metrics.eer import compute_eer, det_curve, eer, rocch_eer
from asvtk.metrics.operating_point import operating_point
from asvtk.metrics.tdcf import AsvErrorRates, asv_error_rates, legacy_weights, min_tdcf, revisited_weights

# Few different values make many ties; halves survive every transformation exactly.
scores = st.lists(st.integers(-6, 6).map(lambda i: i / 2), min_size=1, max_size=25)
ASV = AsvErrorRates(eer=0.1, threshold=0.0, p_fa=0.1, p_miss=0.1, p_fa_spoof=0.5)


def all_cuts(bonafide, spoof):
    """(FRR, FAR) as exact fractions, one trial rejected after the other, bona fide first among ties."""
    ranked = sorted([(s, 0) for s in bonafide] + [(s, 1) for s in spoof])
    for cut in range(len(ranked) + 1):
        rejected = [is_spoof for _, is_spoof in ranked[:cut]]
        yield (
            Fraction(rejected.count(0), len(bonafide)),
            1 - Fraction(rejected.count(1), len(spoof)),
        )


@given(scores, scores)
def test_eer_is_the_official_definition(bonafide, spoof):
    frr, far = min(all_cuts(bonafide, spoof), key=lambda rates: abs(rates[0] - rates[1]))
    curve = det_curve(bonafide, spoof)
    # Of two cuts with the same |FRR - FAR|, rounding may choose the other one.
    smallest = min(abs(float(a) - float(b)) for a, b in zip(curve.frr, curve.far, strict=True))
    rivals = [(a + b) / 2 for a, b in all_cuts(bonafide, spoof) if abs(abs(a - b) - abs(frr - far)) < 1e-12]
    assert smallest == pytest.approx(float(abs(frr - far)), abs=1e-12)
    assert any(compute_eer(bonafide, spoof)[0] == pytest.approx(float(rival), abs=1e-12) for rival in rivals)


@given(scores, scores)
def test_rocch_eer_is_where_the_lower_convex_hull_crosses_the_diagonal(bonafide, spoof):
    points = list(set(all_cuts(bonafide, spoof)))
    best = min((a for a, b in points if a == b), default=Fraction(1))
    for a, b in points:
        for c, d in points:
            if a < b and c > d:
                share = (b - a) / ((b - a) + (c - d))
                best = min(best, a + share * (c - a))
    curve = det_curve(bonafide, spoof)
    assert rocch_eer(curve.frr, curve.far) == pytest.approx(float(best), abs=1e-12)


@given(scores, scores)
def test_costs_are_their_definitions(bonafide, spoof):
    curve = det_curve(bonafide, spoof)
    for weights in (legacy_weights(ASV), revisited_weights(ASV)):
        brute = min(
            weights.c0 + weights.c1 * float(a) + weights.c2 * float(b) for a, b in all_cuts(bonafide, spoof)
        )
        brute /= weights.c0 + min(weights.c1, weights.c2)
        assert min_tdcf(curve.frr, curve.far, weights) == pytest.approx(brute, abs=1e-12)
        assert brute <= 1 + 1e-12
    brute = min(0.95 * float(a) + 0.5 * float(b) for a, b in all_cuts(bonafide, spoof)) / 0.5
    assert min_dcf(curve.frr, curve.far) == pytest.approx(brute, abs=1e-12)
    assert act_dcf(np.array(bonafide), np.array(spoof)) >= brute - 1e-12


@given(scores, scores, st.sampled_from([np.exp, np.arctan, lambda x: x**3, lambda x: 5 * x - 3]))
def test_only_the_order_of_the_scores_matters(bonafide, spoof, rising):
    assert (
        compute_eer(bonafide, spoof)[0] == compute_eer(rising(np.array(bonafide)), rising(np.array(spoof)))[0]
    )


@given(scores, scores, st.randoms())
def test_the_order_of_the_trials_does_not_matter(bonafide, spoof, random):
    before = det_curve(bonafide, spoof)
    random.shuffle(bonafide)
    random.shuffle(spoof)
    assert all((a == b).all() for a, b in zip(before, det_curve(bonafide, spoof), strict=True))


@given(scores, scores)
def test_one_polarity_is_no_worse_than_chance(bonafide, spoof):
    """Without ties the two polarities' EERs are mirror images, up to the step of one trial."""
    spread = np.linspace(0, 1e-3, len(bonafide) + len(spoof))
    b, s = np.array(bonafide) + spread[: len(bonafide)], np.array(spoof) + spread[len(bonafide) :]
    step = 1 / min(len(b), len(s))
    assert min(compute_eer(b, s)[0], compute_eer(-b, -s)[0]) <= 0.5 + step / 2
    curve = det_curve(b, s)
    assert rocch_eer(curve.frr, curve.far) <= 0.5


def test_constant_scores_are_held_against_the_system():
    curve = det_curve([1.0] * 4, [1.0] * 9)
    assert eer(curve.frr, curve.far)[0] == 1
    assert rocch_eer(curve.frr, curve.far) == 0.5


def test_threshold_accepts_above_it():
    rate, threshold = compute_eer([1, 2, 3, 4], [-2, -1, 0, 2.5])
    assert rate == 0.25 and threshold in (1, 2)
    assert compute_eer([1, 2], [-1, 0]) == (0, 0)


def test_an_empty_class_is_refused():
    with pytest.raises(AsvtkError, match="0 bona fide and 2 spoof"):
        det_curve([], [1, 2])


def test_asv_rates_and_weights_by_hand():
    rates = asv_error_rates(np.array([1.0, 2, 3, 4]), np.array([-1.0, 0, 1.5, -2]), np.array([0.0, 5]))
    assert (rates.eer, rates.threshold) == (0.25, 1.0)
    assert (rates.p_miss, rates.p_fa, rates.p_fa_spoof, rates.p_miss_spoof) == (0, 0.25, 0.5, 0.5)
    legacy, revisited = legacy_weights(rates), revisited_weights(rates)
    assert (legacy.c0, legacy.c1, legacy.c2) == pytest.approx((0, 0.9405 - 0.0095 * 10 * 0.25, 0.25))
    assert (revisited.c0, revisited.c1) == pytest.approx((0.02375, 0.9405 - 0.02375))


def test_perfect_cm_has_a_floor_only_in_the_revisited_form():
    perfect = np.array([0.0]), np.array([0.0])
    assert min_tdcf(*perfect, legacy_weights(ASV)) == 0
    assert min_tdcf(*perfect, revisited_weights(ASV)) > 0


def test_useless_asv_is_refused():
    with pytest.raises(AsvtkError, match="negative"):
        legacy_weights(AsvErrorRates(eer=1, threshold=0, p_fa=1, p_miss=1, p_fa_spoof=0.5))
    with pytest.raises(AsvtkError, match="C2 = 0"):
        legacy_weights(AsvErrorRates(eer=0, threshold=0, p_fa=0, p_miss=0, p_fa_spoof=0))


def test_cllr_of_known_ratios():
    assert cllr(np.zeros(3), np.zeros(2)) == pytest.approx(1)
    assert cllr(np.array([800.0]), np.array([-800.0])) == 0
    assert cllr(np.array([-800.0]), np.array([-800.0])) == pytest.approx(400 / np.log(2))


@given(scores, scores, st.sampled_from([0, 0.1, 0.25, 0.5, 1]))
def test_operating_point_keeps_its_promise(bonafide, spoof, rate):
    curve = det_curve(bonafide, spoof)
    b, s = np.array(bonafide), np.array(spoof)
    for kind in ("far", "frr", "eer"):
        at = operating_point(curve, kind, rate)
        assert at["frr"] == np.mean(b <= at["threshold"]) and at["far"] == np.mean(s > at["threshold"])
        assert kind == "eer" or at[kind] <= rate


def test_unknown_operating_points_are_refused():
    curve = det_curve([1], [0])
    for kind, rate in (("tpr", 0.1), ("far", None), ("far", 1.5)):
        with pytest.raises(AsvtkError, match="expected eer, far=RATE"):
            operating_point(curve, kind, rate)
