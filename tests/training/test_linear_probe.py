"""Linear probes: what they find, by what they are chosen, and what they cannot be fitted on."""

import numpy as np
import pytest

from asvtk.io.errors import AsvtkError
from asvtk.training.probe import STRENGTHS, fit_probe


@pytest.fixture
def planted():
    """One of eight dimensions tells the classes, and another only within each of ten groups."""
    rng = np.random.default_rng(0)
    bonafide = rng.random(400) < 0.2
    groups = rng.integers(10, size=400)
    features = rng.normal(size=(400, 8)).astype(np.float32)
    features[:, 3] += 2 * bonafide
    return features, bonafide, groups


def test_finds_what_tells_the_classes(planted):
    features, bonafide, groups = planted
    probe = fit_probe(features * 50 + 7, bonafide, groups=groups)  # of any scale
    weights = np.abs(probe.weights)
    assert weights.argmax() == 3 and weights[3] > 4 * np.sort(weights)[-2]
    scores = probe.score(features * 50 + 7)
    assert scores[bonafide].mean() > 0 > scores[~bonafide].mean()  # classes weighted alike
    assert set(probe.chosen_by) == set(STRENGTHS) and probe.strength in STRENGTHS
    assert probe.chosen_by[probe.strength] == min(probe.chosen_by.values())
    again = fit_probe(features * 50 + 7, bonafide, groups=groups)
    assert np.array_equal(again.weights, probe.weights)


def test_folds_share_no_group(planted):
    features, bonafide, _ = planted
    rng = np.random.default_rng(1)
    groups = np.arange(400) // 8  # of one class each, told by a pattern of its own
    bonafide = groups % 4 == 0
    features = rng.normal(size=(50, 60))[groups].astype(np.float32) + 0.1 * rng.normal(size=(400, 60))
    apart = fit_probe(features.astype(np.float32), bonafide, groups=groups)
    mixed = fit_probe(features.astype(np.float32), bonafide)
    assert min(mixed.chosen_by.values()) < 1 and min(apart.chosen_by.values()) > 20


def test_dev_chooses_where_it_is_asked_to(planted):
    features, bonafide, _ = planted
    dev = features[::2], bonafide[::2]
    probe = fit_probe(features, bonafide, dev=dev)
    assert probe.chosen_by[probe.strength] == min(probe.chosen_by.values())
    assert fit_probe(features, bonafide, dev=dev, strengths=(0.01,)).strength == 0.01


def test_agrees_with_scikit_learn(planted):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, bonafide, groups = planted
    probe = fit_probe(features, bonafide, groups=groups, strengths=(0.1,))
    standard = StandardScaler().fit_transform(features)
    model = LogisticRegression(C=0.1, class_weight="balanced", tol=1e-8).fit(standard, bonafide)
    expected = model.decision_function(standard)
    assert np.abs(probe.score(features) - expected).max() < 2e-3


def test_what_cannot_be_fitted(planted):
    features, bonafide, groups = planted
    with pytest.raises(AsvtkError, match="the training set holds spoofs only; a probe needs both"):
        fit_probe(features, np.zeros(400, bool))
    with pytest.raises(AsvtkError, match="cross-validation needs two groups"):
        fit_probe(features, bonafide, groups=np.zeros(400))
    one_has_all = np.where(bonafide, 0, groups + 1)
    with pytest.raises(AsvtkError, match="by their groups, a set that holds spoofs only"):
        fit_probe(features, bonafide, groups=one_has_all)
