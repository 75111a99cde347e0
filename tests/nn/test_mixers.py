"""The mixers under their one interface; attention against a loop over frames."""

import math

import pytest
import torch

from asvtk.nn.attention import Attention, _rotate
from asvtk.nn.mixers import BiLstm, build_mixer

SETTINGS = dict(combine="sum", d_state=4, d_conv=4, expand=2, heads=2)
every_mixer = pytest.mark.parametrize("name", ["mamba", "bilstm", "transformer"])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@every_mixer
def test_every_frame_hears_every_other(name):
    mixer, x = build_mixer(name, 8, **SETTINGS), torch.randn(1, 7, 8, requires_grad=True)
    for frame in range(7):
        (gradient,) = torch.autograd.grad(mixer(x, torch.tensor([7]))[0, frame].sum(), x)
        assert (gradient[0].abs().amax(-1) > 0).all()


@every_mixer
def test_padding_reaches_no_real_frame(name):
    mixer, x = build_mixer(name, 8, **SETTINGS), torch.randn(2, 9, 8)
    lengths = torch.tensor([9, 5])
    together = mixer(x, lengths)
    alone = mixer(x[1:, :5], lengths[1:])
    torch.testing.assert_close(alone[0], together[1, :5], rtol=1e-5, atol=1e-6)
    noisy = x.clone()
    noisy[1, 5:] = 1e3
    torch.testing.assert_close(mixer(noisy, lengths)[1, :5], together[1, :5], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("combine", ["sum", "gate", "concat"])
def test_choice_of_combination_reaches_mamba(combine):
    assert build_mixer("mamba", 8, **{**SETTINGS, "combine": combine}).combine == combine


def test_bilstm_is_that_of_pytorch_on_packed_sequences():
    ours, lengths = BiLstm(6), torch.tensor([8, 5])
    reference = torch.nn.LSTM(6, 6, batch_first=True, bidirectional=True)
    for name, value in ours.forwards.named_parameters():
        reference.get_parameter(name).data = value.data
    for name, value in ours.backwards.named_parameters():
        reference.get_parameter(f"{name}_reverse").data = value.data
    x = torch.randn(2, 8, 6)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    hidden, _ = torch.nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    found = ours(x, lengths)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row, :length], ours.output(hidden)[row, :length])


def test_attention_is_a_weighted_mean_with_turned_queries_and_keys():
    attention, x, context = Attention(8, 2), torch.randn(1, 5, 8), torch.randn(1, 6, 8)
    found = attention(x, context, torch.tensor([4]))[0]
    keys, values = attention.key_value(context[0]).chunk(2, dim=-1)

    def turned(vector, frame, head):
        """Pairs (i, i + 2) of a head's four numbers, as complex numbers, turned by frame * rate_i."""
        pairs = torch.complex(vector[4 * head : 4 * head + 2], vector[4 * head + 2 : 4 * head + 4])
        angles = frame * torch.tensor([1.0, 10_000**-0.5])
        return pairs * torch.polar(torch.ones(2), angles)

    for frame in range(5):
        heads = []
        for head in range(2):
            query = turned(attention.query(x[0, frame]), frame, head)
            scores = [(query * turned(keys[t], t, head).conj()).sum().real / math.sqrt(4) for t in range(4)]
            weights = torch.stack(scores).softmax(0)
            heads.append(weights @ values[:4, 4 * head : 4 * head + 4])
        torch.testing.assert_close(found[frame], attention.output(torch.cat(heads)), rtol=1e-4, atol=1e-5)


def test_attention_knows_distances_and_no_dates():
    query, key = (_rotate(torch.randn(1, 4).expand(9, 4)) for _ in range(2))
    scores = query @ key.T  # of one query and one key, at all pairs of moments
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], rtol=1e-4, atol=1e-5)
    assert len({round(value, 3) for value in scores[0].tolist()}) == 9


@pytest.mark.parametrize("d_model, heads", [(9, 2), (12, 4), (8, 3)])
def test_uneven_heads_are_refused(d_model, heads):
    with pytest.raises(ValueError, match=f"d_model {d_model} must be a multiple of 2 \\* heads"):
        Attention(d_model, heads)
