"""The committee: its configuration, and what its members have to do with each other."""

import pytest
import torch

from asvtk.io.config import build, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.models import Inputs, build_detector
from asvtk.models.committee import CommitteeConfig
from asvtk.nn.losses import WeightedCrossEntropyConfig

SMALL = dict(d_model=16, blocks=1, d_state=4, d_expert=24, d_embedding=12, dropout=0.0)
CONV = {
    "name": "conv_moe_mamba",
    "channels": [4, 6],
    "shift": False,
    "mask_bands": 0,
    "mask_frames": 0,
    **SMALL,
}
AUDIO = dict(name="dual_stream", streams="audio", filters=10, taps=33, channels=[4, 4, 6, 6, 6, 6], **SMALL)
INPUTS = Inputs(
    torch.randn(4, 2, 20, 10),
    torch.tensor([20, 11, 20, 16]),
    0.1 * torch.randn(4, 6400),
    torch.full((4,), 6400),
)
BONAFIDE = torch.tensor([True, False, True, False])


def committee(*members, where="c.yaml: model"):
    return build(CommitteeConfig, {"members": list(members)}, where)


def detector(*members):
    torch.manual_seed(0)
    return build_detector(committee(*members), WeightedCrossEntropyConfig(), 2, 10)


def test_configuration_comes_back_as_it_was_written_out():
    config = committee(CONV, AUDIO)
    content = to_mapping(config)
    assert [part["name"] for part in content["members"]] == ["conv_moe_mamba", "dual_stream"]
    assert content["members"][0]["heads"] == 4  # with every default
    assert build(CommitteeConfig, {"members": content["members"]}, "again") == config


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([CONV], "expected a list of two systems or more"),
        ("conv_moe_mamba", "expected a list"),
        ([CONV, {"d_model": 4}], r"members\[1\]: the key 'name' is missing"),
        ([CONV, {"name": "committee"}], r"members\[1\].name: unknown 'committee'"),
        ([CONV, {**AUDIO, "filter": 3}], r"members\[1\]: unknown key 'filter'; did you mean 'filters'"),
    ],
)
def test_what_is_no_committee_is_refused(members, message):
    with pytest.raises(AsvtkError, match=message):
        build(CommitteeConfig, {"members": members}, "c.yaml: model")


def test_it_hears_what_its_members_hear():
    both, audio = detector(CONV, AUDIO).model, detector(AUDIO, AUDIO).model
    assert both.uses_features and both.uses_audio and both.d_embedding == 24
    assert audio.uses_audio and not audio.uses_features and not hasattr(audio, "mvn")


def test_members_of_one_kind_begin_differently():
    first, second = detector(CONV, CONV).model.members
    assert not torch.equal(first.projection.weight, second.projection.weight)


def test_no_member_learns_from_another():
    """The gradient of each is what it is without the others."""
    together = detector(CONV, AUDIO)
    together(INPUTS, BONAFIDE).backward()
    member, loss = together.model.members[0], together.loss.members[0]
    found = {name: p.grad.clone() for name, p in member.named_parameters()}
    member.zero_grad()
    output = member(INPUTS)
    (loss(output.embedding, BONAFIDE) + output.auxiliary).backward()
    for name, parameter in member.named_parameters():
        torch.testing.assert_close(parameter.grad, found[name])


def test_features_are_normalised_once():
    system = detector(CONV, CONV).eval()
    before = system.score_inputs(INPUTS)
    system.model.mvn.fit(list(INPUTS.features))
    assert not torch.allclose(system.score_inputs(INPUTS), before)
    assert all(torch.equal(member.mvn.scale, torch.ones(2, 1, 10)) for member in system.model.members)
