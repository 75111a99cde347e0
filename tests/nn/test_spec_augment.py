"""What training does to images: masks within their bounds, rotations that lose nothing."""

import torch

from asvtk.nn.spec_augment import SpecAugment, shift_frames


def test_masks_are_within_their_bounds_and_only_in_training():
    torch.manual_seed(0)
    image = torch.ones(64, 2, 50, 40)
    mask = SpecAugment(bands=0.2, frames=0.1, count=1)
    masked = mask(image)
    for utterance in masked:
        hidden_frames, hidden_bands = (utterance[0] == 0).all(1).sum(), (utterance[0] == 0).all(0).sum()
        assert hidden_frames <= 0.1 * 50 and hidden_bands <= 0.2 * 40
        assert torch.equal(utterance[0], utterance[1])
    assert (masked == 0).any() and len({tuple(x[0, :, 0].tolist()) for x in masked}) > 5
    assert torch.equal(mask.eval()(image), image)


def test_no_masks_are_no_change():
    image = torch.randn(2, 1, 5, 4)
    assert SpecAugment(0, 0)(image) is image


def test_shifting_rotates_the_real_frames():
    torch.manual_seed(0)
    image, lengths = torch.randn(40, 2, 12, 3), torch.tensor([12, 7] * 20)
    shifted = shift_frames(image, lengths)
    begun = set()
    for before, after, length in zip(image, shifted, lengths, strict=True):
        assert torch.equal(before[:, length:], after[:, length:])
        turns = [n for n in range(length) if torch.equal(before[:, :length].roll(-n, 1), after[:, :length])]
        assert len(turns) == 1
        begun |= set(turns)
    assert len(begun) > 5
