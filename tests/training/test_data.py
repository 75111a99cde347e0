"""Order and batches."""

import torch

from asvtk.training.data import _collate, draw_order

BONAFIDE = torch.tensor([True] * 3 + [False] * 20)


def test_order_is_a_function_of_the_epoch_seed():
    assert draw_order(BONAFIDE, 5, False) == draw_order(BONAFIDE, 5, False)
    assert draw_order(BONAFIDE, 5, False) != draw_order(BONAFIDE, 6, False)
    assert sorted(draw_order(BONAFIDE, 5, False)) == list(range(23))


def test_balanced_order_draws_both_classes_equally_and_everyone():
    order = draw_order(BONAFIDE, 5, True)
    drawn = torch.tensor(order)
    assert len(order) == 40 and BONAFIDE[drawn].sum() == 20
    counts = drawn.bincount(minlength=23)
    assert counts.min() >= 1 and counts[:3].max() - counts[:3].min() <= 1


def test_shorter_utterances_are_padded_behind():
    items = [(torch.ones(2, 3, 4), torch.tensor(True)), (2 * torch.ones(2, 5, 4), torch.tensor(False))]
    features, lengths, bonafide = _collate(items)
    assert (
        features.shape == (2, 2, 5, 4) and lengths.tolist() == [3, 5] and bonafide.tolist() == [True, False]
    )
    assert (features[0, :, :3] == 1).all() and (features[0, :, 3:] == 0).all() and (features[1] == 2).all()
