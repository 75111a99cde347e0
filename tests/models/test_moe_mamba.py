"""What every system must keep; here S3."""

import pytest
import torch

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models import Inputs, build_detector
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig

SMALL = MoeMambaConfig(d_model=16, blocks=2, d_state=4, d_expert=24, d_embedding=12)


def detector(config=SMALL, layers=3, d_in=10):
    torch.manual_seed(0)
    return build_detector(config, OcSoftmaxConfig(), layers, d_in)


def batch(lengths=(30, 30, 30, 30), layers=3, d_in=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), layers, max(lengths), d_in, generator=generator)
    return Inputs(features, torch.tensor(lengths), None, None), torch.arange(len(lengths)) % 2 == 0


@pytest.mark.parametrize("stack", [1, 2, 3])
def test_every_parameter_receives_a_gradient(stack):
    system = detector(
        MoeMambaConfig(stack=stack, d_model=16, blocks=2, d_state=4, d_expert=24, d_embedding=12)
    )
    system(*batch((30, 29, 17, 30))).backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("stack", [1, 2, 3])
def test_score_depends_neither_on_company_nor_on_padding(stack):
    system = detector(
        MoeMambaConfig(stack=stack, d_model=16, blocks=2, d_state=4, d_expert=24, d_embedding=12)
    ).eval()
    inputs, _ = batch((30, 13, 22, 30))
    features, lengths = inputs.features, inputs.lengths
    together = system.score(inputs)
    for row, length in enumerate(lengths.tolist()):
        alone = system.score(
            inputs._replace(features=features[row : row + 1, :, :length], lengths=lengths[row : row + 1])
        )
        torch.testing.assert_close(alone, together[row : row + 1], rtol=1e-4, atol=1e-5)
    noisy = torch.cat([features, 1e3 * torch.randn(4, 3, 9, 10)], dim=2)
    torch.testing.assert_close(system.score(inputs._replace(features=noisy)), together, rtol=1e-4, atol=1e-5)


def test_scores_are_cosines():
    scores = detector().eval().score(batch()[0])
    assert scores.shape == (4,) and scores.abs().max() <= 1 + 1e-5


def test_a_few_utterances_are_learned_by_heart():
    system, (inputs, bonafide) = detector(), batch((20,) * 8)
    optimiser = torch.optim.Adam(system.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        system(inputs, bonafide).backward()
        optimiser.step()
    scores = system.eval().score(inputs)
    assert scores[bonafide].min() > scores[~bonafide].max()


def test_normalisation_is_that_of_the_utterances_given():
    system = detector()
    utterances = [3 + 5 * torch.randn(3, length, 10) for length in (40, 25, 60)]
    system.model.mvn.fit(utterances)
    frames = system.model.mvn(torch.cat(utterances, dim=1).unsqueeze(0))
    torch.testing.assert_close(frames.mean(2), torch.zeros(1, 3, 10), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(2, correction=0), torch.ones(1, 3, 10), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"top_k": 5}, r"top_k 5 must lie between 1 and experts \(4\)"),
        ({"blocks": 0}, "blocks must be positive"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"expert": 4}, "unknown key 'expert'; did you mean 'experts'"),
    ],
)
def test_impossible_settings_are_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(MoeMambaConfig, content, "c.yaml: model")
