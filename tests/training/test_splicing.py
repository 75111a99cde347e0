"""Spliced utterances: whose parts they are, and that features and audio change at the same time."""

import torch

from asvtk.models import Inputs
from asvtk.training.splicing import EARLIEST, LATEST, splice

BATCH = 40


def batch(bonafide):
    """Each utterance's number, all along its features and its audio."""
    number = torch.arange(1.0, len(bonafide) + 1)
    features = number[:, None, None, None].expand(-1, 2, 50, 3)
    audio = number[:, None].expand(-1, 500)
    full = torch.full((len(bonafide),), 50)
    return Inputs(features, full, audio, 10 * full)


def test_an_utterance_goes_on_as_another_of_its_class():
    torch.manual_seed(0)
    bonafide = torch.arange(BATCH) % 3 == 0
    given = batch(bonafide)
    found = splice(given, bonafide, 1.0)
    changed = found.audio[:, 0] != found.audio[:, -1]
    assert changed.sum() == BATCH - 2  # all but one of each class
    assert torch.equal(found.audio[:, 0], given.audio[:, 0])  # begins as itself
    other = found.audio[:, -1].long() - 1
    assert torch.equal(bonafide[other], bonafide)
    own = (found.audio == given.audio).sum(1)[changed] / 500
    assert own.min() >= EARLIEST and own.max() <= LATEST and own.unique().numel() > 20
    assert torch.equal(found.features[:, 0, :, 0], found.audio[:, ::10])  # at the same time
    assert torch.equal(found.features, found.features[:, :1, :, :1].expand_as(found.features))
    assert torch.equal(found.lengths, given.lengths) and torch.equal(found.samples, given.samples)


def test_probability_and_what_is_not_there():
    torch.manual_seed(0)
    bonafide = torch.arange(4000) % 2 == 0
    given = batch(bonafide)._replace(features=None)
    found = splice(given, bonafide, 0.3)
    assert found.features is None
    assert 0.25 < (found.audio[:, -1] != given.audio[:, -1]).float().mean() < 0.35


def test_the_only_one_of_its_class_stays():
    bonafide = torch.tensor([True, False, False])
    found = splice(batch(bonafide), bonafide, 1.0)
    assert torch.equal(found.audio[0], batch(bonafide).audio[0])
