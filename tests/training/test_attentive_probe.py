"""Attentive probes: they look where the evidence is, and begin as the probe of plain means."""

import numpy as np
import pytest

from asvtk.metrics.eer import compute_eer
from asvtk.training import attentive_probe
from asvtk.training.attentive_probe import fit_attentive_probe
from asvtk.training.probe import fit_probe


@pytest.fixture(scope="module")
def planted():
    """One frame of some thirty has a mark in dimension 0 and tells the class in dimension 1."""
    rng = np.random.default_rng(0)
    bonafide = rng.random(400) < 0.3
    frames = [rng.normal(size=(rng.integers(20, 40), 6)).astype(np.float32) for _ in bonafide]
    for utterance, is_bonafide in zip(frames, bonafide, strict=True):
        utterance[rng.integers(len(utterance)), :2] = [6, 2 if is_bonafide else -2]
    return frames, bonafide


def eer(scores, bonafide):
    return 100 * compute_eer(scores[bonafide], scores[~bonafide])[0]


def test_attention_finds_the_frame_that_tells(planted):
    frames, bonafide = planted
    means = np.stack([of.mean(0) for of in frames])
    probe = fit_attentive_probe(means[:300], frames.__getitem__, bonafide[:300])
    of_means = fit_probe(means[:300], bonafide[:300]).score(means[300:])
    assert eer(probe.score(frames[300:]), bonafide[300:]) < 5 < 30 < eer(of_means, bonafide[300:])
    assert np.abs(probe.query).argmax() == 0 and probe.query[0] > 0


def test_a_seed_decides(planted, monkeypatch):
    monkeypatch.setattr(attentive_probe, "_LEAST_STEPS", 1)
    means = np.stack([of.mean(0) for of in planted[0]])
    one, same, other = (
        fit_attentive_probe(means, planted[0].__getitem__, planted[1], seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(one.query, same.query) and one.linear.bias == same.linear.bias
    assert not np.array_equal(one.query, other.query)


def test_where_all_frames_are_alike_it_is_the_probe_of_means(planted):
    means = np.stack([of.mean(0) for of in planted[0]])
    still = [np.repeat(of[None], 2 + number % 5, axis=0) for number, of in enumerate(means)]  # of any length
    probe = fit_attentive_probe(means, still.__getitem__, planted[1])
    linear = fit_probe(means, planted[1], strengths=(1.0,))
    np.testing.assert_allclose(probe.score(still), linear.score(means), atol=0.05)
