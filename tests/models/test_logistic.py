"""Logistic regression: the solution is exact, and its penalty is chosen on speakers that were left out."""

import numpy as np
import pytest
import torch

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.logistic import Logistic, LogisticConfig
from asvtk.nn.losses import LogitConfig
from asvtk.testing import detector_for


def made_up(utterances=120, d=5, speakers=6, seed=0):
    """Summaries of which the first tells the classes apart and the second the speakers; labels; speakers."""
    generator = torch.Generator().manual_seed(seed)
    bonafide = torch.arange(utterances) % 3 == 0
    speaker = torch.arange(utterances) // 3 % speakers
    x = torch.randn(utterances, d, generator=generator)
    x[:, 0] += 2.0 * bonafide
    x[:, 1] += 4.0 * speaker
    return 10 * x + 7, bonafide, [f"s{number}" for number in speaker.tolist()]


def fitted(summaries, bonafide, groups, **knobs):
    model = Logistic(LogisticConfig(**knobs), 1, summaries.shape[1])
    return model, *model.fit(summaries, bonafide, groups)


def logits(model, summaries):
    features = summaries[:, None, None]  # of one frame each
    return model(Batch(features, torch.ones(len(features), dtype=torch.long), None, None)).embedding.sum(1)


@pytest.mark.parametrize("balanced", [True, False])
def test_gradient_of_the_penalised_loss_vanishes_at_the_solution(balanced):
    x, bonafide, groups = made_up()
    model, *_ = fitted(x, bonafide, groups, C=0.3, balanced=balanced)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double()
    weight, bias = (p.detach().double().requires_grad_() for p in (model.weight, model.bias))
    share = torch.where(bonafide, len(x) / (2 * bonafide.sum()), len(x) / (2 * (~bonafide).sum()))
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        z @ weight + bias, bonafide.double(), reduction="none"
    )
    (0.3 * (losses * (share if balanced else 1)).sum() + weight.square().sum() / 2).backward()
    assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 1e-4
    assert (logits(model, x) - (z @ weight + bias)).abs().max() < 1e-4


def test_balanced_classes_put_the_threshold_between_them():
    x, bonafide, groups = made_up(600)
    balanced, plain = (fitted(x, bonafide, groups, C=1.0, balanced=b)[0] for b in (True, False))
    # Twice as many spoofs: without balance their prior odds are in the logit.
    assert (logits(balanced, x) - logits(plain, x)).mean().item() == pytest.approx(np.log(2), abs=0.15)


def test_loss_and_score_are_those_of_the_logit():
    x, bonafide, groups = made_up()
    detector = detector_for(LogisticConfig(C=1.0), LogitConfig(), layers=1, width=5)
    loss, outcome = detector.model.fit(x, bonafide, groups)
    batch = Batch(x[:, None, None], torch.ones(len(x), dtype=torch.long), None, None)
    scores = detector.score_prepared(batch)
    assert outcome == "logistic regression, C 1: C as given"
    assert scores[bonafide].mean() > scores[~bonafide].mean()
    assert detector(batch, bonafide).item() == pytest.approx(loss, abs=1e-5)
    torch.testing.assert_close(scores, logits(detector.model, x))


def test_penalty_is_chosen_on_speakers_that_were_left_out():
    # Each speaker has one class: what tells speakers apart helps in training, and on nobody else.
    generator = torch.Generator().manual_seed(0)
    speaker = torch.arange(240) // 12
    bonafide = speaker % 2 == 0
    x = torch.randn(240, 60, generator=generator)
    x[:, :20] += 6 * torch.nn.functional.one_hot(speaker, 20)
    x[:, 20] += 1.5 * bonafide
    groups = [f"s{number}" for number in speaker.tolist()]
    _, _, known = fitted(x, bonafide, groups)
    _, _, unknown = fitted(x, bonafide, [str(number) for number in range(240)])
    chosen = [float(outcome.split()[3].rstrip(":")) for outcome in (known, unknown)]
    assert chosen[0] < chosen[1]
    assert "on speakers left out" in known and "over 5 folds" in known


def test_without_enough_speakers_utterances_are_left_out_and_repeated_ones_stay_together():
    x, bonafide, _ = made_up()
    outcome = fitted(x, bonafide, ["s"] * len(x))[2]
    assert "on utterances left out" in outcome
    twice = torch.cat([x, x]), torch.cat([bonafide, bonafide]), ["s"] * (2 * len(x))
    assert "on utterances left out" in fitted(*twice)[2]


def test_too_few_utterances_to_choose():
    x, bonafide, groups = made_up(3)
    assert fitted(x, bonafide, groups)[2] == "logistic regression, C 1: too few utterances to choose it"


def test_the_same_data_give_the_same_bits():
    weights = [fitted(*made_up())[0].weight for _ in range(2)]
    assert torch.equal(*weights)


def test_what_varies_by_rounding_alone_has_no_say():
    x, bonafide, groups = made_up()
    x[:, 3] = 0.1
    x[:, 4] = 1e-7 * bonafide
    model, *_ = fitted(x, bonafide, groups, C=1.0)
    assert not model.scale[3:].any() and model.scale[:3].all()
    assert all(p.isfinite().all() for p in model.parameters())


def test_statistics_are_mean_and_deviation_of_the_real_frames():
    model = Logistic(LogisticConfig(statistics="mean_std"), 2, 3)
    features, lengths = torch.randn(2, 2, 7, 3), torch.tensor([7, 4])
    summary = model.summary(Batch(features, lengths, None, None)).view(2, 2, 2, 3)
    for row, length in enumerate(lengths):
        real = features[row, :, :length]
        torch.testing.assert_close(summary[row, :, 0], real.mean(1))
        torch.testing.assert_close(summary[row, :, 1], real.std(1, correction=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"C": 0.0}, "C must be positive, or null"),
        ({"candidates": []}, "candidates must be positive"),
        ({"folds": 1}, "folds must be 2 or more"),
        ({"statistics": "median"}, "'median' does not fit; expected mean or mean_std"),
    ],
)
def test_impossible_settings_are_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(LogisticConfig, content, "c.yaml: model")
