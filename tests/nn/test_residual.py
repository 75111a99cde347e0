"""The residual encoder and the masked normalisation before it."""

import torch
from torch.nn import functional as F

from asvtk.nn.masked_norm import MaskedBatchNorm
from asvtk.nn.residual import ResidualBlock, ResidualEncoder


def encoder(channels=(3, 3, 4, 4, 5, 5), halvings=5):
    torch.manual_seed(0)
    ours = ResidualEncoder(channels, halvings)
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as training leaves it: padding does not stay zero
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.normal_(module.bias)
    return ours.eval()


def test_block_adds_two_convolutions_to_its_input():
    torch.manual_seed(0)
    block, x = ResidualBlock(2, 2), torch.randn(3, 2, 5, 8)
    ones = torch.ones(3, 1, 1, 8)

    def normalised(y):
        mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), correction=0, keepdim=True)
        return (y - mean) / (variance + 1e-5).sqrt()

    y = F.conv2d(F.selu(normalised(x)), block.conv1.weight, padding=1)
    y = F.conv2d(F.selu(normalised(y)), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x, ones), x + y, rtol=1e-4, atol=1e-5)


def test_shapes():
    image = torch.randn(2, 1, 7, 32 * 3)
    for halvings in (0, 3, 5):
        frames = 32 * 3 // 2**halvings
        assert encoder(halvings=halvings)(image, torch.tensor([frames, 2])).shape == (2, frames, 5 * 7)


def test_frames_depend_neither_on_padding_nor_on_company():
    ours, lengths = encoder(), torch.tensor([5, 2])
    image = torch.randn(2, 1, 6, 32 * 5)
    image[1, ..., 32 * 2 :] = 0
    together = ours(image, lengths)
    alone = ours(image[1:, ..., : 32 * 2], lengths[1:])
    torch.testing.assert_close(alone[0], together[1, :2], rtol=1e-4, atol=1e-5)
    padded = ours(F.pad(image, (0, 32 * 3)), lengths)
    torch.testing.assert_close(padded[0, :5], together[0], rtol=1e-4, atol=1e-5)


def test_masked_norm_takes_its_statistics_from_real_frames():
    norm, x = MaskedBatchNorm(3), 4 + 2 * torch.randn(2, 3, 50)
    mask = torch.arange(50) < torch.tensor([[50], [20]])
    x[1, :, 20:] = -1e3
    found = norm(x, mask)
    assert (found[1, :, 20:] == 0).all()
    real = torch.cat([x[0], x[1, :, :20]], dim=1)
    expected = (real - real.mean(1, keepdim=True)) / (real.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(torch.cat([found[0], found[1, :, :20]], dim=1), expected, rtol=1e-4, atol=1e-5)


def test_masked_norm_without_padding_is_batch_normalisation():
    ours, reference = MaskedBatchNorm(3), torch.nn.BatchNorm1d(3)
    torch.nn.init.normal_(ours.weight)
    torch.nn.init.normal_(ours.bias)
    reference.load_state_dict(ours.state_dict())
    x, mask = torch.randn(4, 3, 9), torch.ones(4, 9, dtype=torch.bool)
    torch.testing.assert_close(ours(x, mask), reference(x), rtol=1e-4, atol=1e-5)
    ours.eval()
    reference.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x, mask), reference.eval()(x), rtol=1e-4, atol=1e-5)


def test_masked_norm_forgets_its_start_at_once_and_averages_then():
    norm, mask = MaskedBatchNorm(1), torch.ones(2, 50, dtype=torch.bool)
    for batch in range(1, 30):
        norm(torch.full((2, 1, 50), float(batch)), mask)
        if batch == 1:
            assert norm.running_mean == 1 and norm.running_var == 0
        if batch == 3:
            assert abs(norm.running_mean.item() - 2) < 1e-6
    weights = [0.1 * 0.9 ** (29 - batch) for batch in range(11, 30)]  # from the tenth batch on
    expected = 5.5 * 0.9**19 + sum(w * b for w, b in zip(weights, range(11, 30), strict=True))
    assert abs(norm.running_mean.item() - expected) < 1e-4
