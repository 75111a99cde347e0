"""Which utterances an epoch hears, and in which order."""

from itertools import pairwise

import pytest
import torch

from asvtk.io.errors import AsvtkError
from asvtk.training.sampler import sample_epoch

BONAFIDE = torch.tensor([True] * 3 + [False] * 20)


def test_order_is_a_function_of_the_epoch_seed():
    assert sample_epoch(BONAFIDE, 5, False) == sample_epoch(BONAFIDE, 5, False)
    assert sample_epoch(BONAFIDE, 5, False) != sample_epoch(BONAFIDE, 6, False)
    assert sorted(sample_epoch(BONAFIDE, 5, False)) == list(range(23))


def test_balanced_order_draws_both_classes_equally_and_everyone():
    order = sample_epoch(BONAFIDE, 5, True)
    drawn = torch.tensor(order)
    assert len(order) == 40 and BONAFIDE[drawn].sum() == 20
    counts = drawn.bincount(minlength=23)
    assert counts.min() >= 1 and counts[:3].max() - counts[:3].min() <= 1


#: 3 bona fide, 5 spoofs of the corpus's own, and 5 vocoded ones of each bona fide one
MADE_OF = torch.tensor([-1] * 8 + [0, 1, 2] * 5)


@pytest.mark.parametrize(("balance", "counts"), [(False, (3, 5, 5)), (True, (10, 5, 5))])
def test_share_of_vocoded_spoofs(balance, counts):
    drawn = [torch.tensor(sample_epoch(BONAFIDE, e, balance, MADE_OF, 0.5)) for e in (1, 2)]
    for order in drawn:
        own = ~BONAFIDE[order] & (MADE_OF[order] < 0)
        assert (BONAFIDE[order].sum(), own.sum(), (MADE_OF[order] >= 0).sum()) == counts
        assert order.bincount(minlength=23)[:8].min() >= 1
    chosen = [set(order[MADE_OF[order] >= 0].tolist()) for order in drawn]
    assert len(chosen[0]) == 5 and chosen[0] != chosen[1]
    many = sample_epoch(BONAFIDE, 1, balance, MADE_OF, 0.9)  # more than there are
    assert (MADE_OF[many] >= 0).sum() == 45 and len(set(many)) == 23


def test_a_vocoded_spoof_stands_beside_its_source():
    order = sample_epoch(BONAFIDE, 1, True, MADE_OF, 0.4)
    copies = [(source, copy) for source, copy in pairwise(order) if MADE_OF[copy] >= 0]
    assert len(copies) == 3 and all(MADE_OF[copy] == source for source, copy in copies)
    assert len({source for source, _ in copies}) == 3  # not twice the same


def test_a_vocoded_spoof_without_its_source_is_not_drawn():
    made_of = torch.where(MADE_OF == 2, -2, MADE_OF)
    order = torch.tensor(sample_epoch(BONAFIDE, 1, True, made_of, 0.5))
    assert (made_of[order] >= 0).sum() == 5 and not (made_of[order] == -2).any()
    with pytest.raises(AsvtkError, match="vocoded.share: no vocoded spoof has its source"):
        sample_epoch(BONAFIDE, 1, True, torch.where(MADE_OF >= 0, -2, MADE_OF), 0.5)
