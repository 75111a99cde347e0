"""What every system must keep, whatever it hears and however it is configured.

A new system, or a new choice in one, is a line in ``CASES``.
"""

from typing import NamedTuple

import pytest
import torch

from asvtk.models import MODELS
from asvtk.models.attentive_layers import AttentiveLayersConfig
from asvtk.models.cascade_mamba import CascadeMambaConfig
from asvtk.models.conv_moe_mamba import ConvMoeMambaConfig
from asvtk.models.dual_stream import DualStreamConfig
from asvtk.models.logistic import LogisticConfig
from asvtk.models.mhfa import MhfaConfig
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.models.nes2net import Nes2NetConfig
from asvtk.models.plain_mamba import PlainMambaConfig
from asvtk.models.sls import SlsConfig
from asvtk.models.ssl_aasist import SslAasistConfig
from asvtk.models.tcm import TcmConfig
from asvtk.testing import check_back_end, detector_for, random_batch, used
from asvtk.training.checkpoint import load_detector, save_detector

SMALL = dict(d_model=16, blocks=2, d_state=4, d_embedding=12, heads=2)
MOE = dict(**SMALL, d_expert=24)
CONV = dict(**MOE, shift=False, mask_bands=0.0, mask_frames=0.0)  # noise is learned as it is, or not at all
DUAL = dict(**MOE, filters=10, taps=33, channels=(4, 4, 6, 6, 6, 6))
#: at AASIST's own temperatures, gradients of attention are too small to be told from rounding
GRAPH = dict(channels=(4, 4, 6), d_projection=24, d_graph=12, d_stack=8)
GRAPH |= dict(spectral_temperature=1.0, temporal_temperature=1.0, stack_temperature=1.0)


class Case(NamedTuple):
    config: object
    layers: int = 3  # of the features
    d_in: int = 10
    steps: int = 40  # until a few utterances are known by heart; some need more


CASES = {
    "S1": Case(CascadeMambaConfig(**SMALL)),
    "S1, sum": Case(CascadeMambaConfig(**SMALL, combine="sum")),
    "S1, concatenation": Case(CascadeMambaConfig(**SMALL, fusion="concat")),
    "S1, BiLSTM": Case(CascadeMambaConfig(**SMALL, mixer="bilstm")),
    "S1, transformer": Case(CascadeMambaConfig(**SMALL, mixer="transformer")),
    "S2": Case(PlainMambaConfig(**SMALL)),
    "S2, one layer": Case(PlainMambaConfig(**SMALL), layers=1),
    "S2, stacked frames": Case(PlainMambaConfig(**SMALL, stack=2)),
    "S2, gate": Case(PlainMambaConfig(**SMALL, combine="gate")),
    "S2, directions side by side": Case(PlainMambaConfig(**SMALL, combine="concat")),
    "S2, BiLSTM": Case(PlainMambaConfig(**SMALL, mixer="bilstm")),
    "S2, transformer": Case(PlainMambaConfig(**SMALL, mixer="transformer")),
    "S3": Case(MoeMambaConfig(**MOE)),
    "S3, one layer": Case(MoeMambaConfig(**MOE), layers=1),
    "S3, stacked by 2": Case(MoeMambaConfig(**MOE, stack=2)),
    "S3, stacked by 3": Case(MoeMambaConfig(**MOE, stack=3)),
    "S3, 8 experts": Case(MoeMambaConfig(**MOE, experts=8)),
    "S3, dense": Case(MoeMambaConfig(**MOE, experts=1, top_k=1)),
    "S3, gate": Case(MoeMambaConfig(**MOE, combine="gate")),
    "S3, BiLSTM": Case(MoeMambaConfig(**MOE, mixer="bilstm")),
    "S3, transformer": Case(MoeMambaConfig(**MOE, mixer="transformer")),
    "convolutional S3": Case(ConvMoeMambaConfig(**CONV, channels=(4, 6))),
    "convolutional S3, one layer": Case(ConvMoeMambaConfig(**CONV, channels=(4,)), layers=1),
    "S4": Case(DualStreamConfig(**DUAL)),
    "S4, concatenation": Case(DualStreamConfig(**DUAL, fusion="concat")),
    "S4, attention": Case(DualStreamConfig(**DUAL, fusion="attention")),
    "S4, stacked frames": Case(DualStreamConfig(**DUAL, stack=2, audio_stack=2)),
    "S4, long hops": Case(DualStreamConfig(**DUAL, hop=20)),
    "S4, features alone": Case(DualStreamConfig(**DUAL, streams="features")),
    "S4, audio alone": Case(DualStreamConfig(**DUAL, streams="audio"), layers=0, d_in=0),
    "AASIST on features": Case(SslAasistConfig(**GRAPH), steps=120),
    "AASIST on one layer": Case(SslAasistConfig(**GRAPH), layers=1, steps=120),
    "SLS": Case(SlsConfig(columns=5, d_embedding=12), d_in=24, steps=80),
    "SLS, one layer, whole utterances": Case(SlsConfig(1, d_embedding=12), layers=1, d_in=48, steps=80),
    "MHFA": Case(MhfaConfig(heads=3, d_compressed=6, d_embedding=12)),
    "MHFA, one layer": Case(MhfaConfig(heads=3, d_compressed=6, d_embedding=12), layers=1),
    "Nes2Net-X": Case(Nes2NetConfig(groups=2, scale=3), d_in=24),
    "Nes2Net-X, one layer": Case(Nes2NetConfig(groups=4, scale=2, squeeze=2), layers=1, d_in=32),
    "attentive merging": Case(AttentiveLayersConfig(d_model=12, d_embedding=12)),
    "attentive merging, one layer": Case(AttentiveLayersConfig(d_model=12, d_embedding=12), layers=1),
    "TCM": Case(TcmConfig(d_model=16, blocks=2, heads=2, taps=5)),
    "TCM, one layer": Case(TcmConfig(d_model=16, blocks=2, heads=2, taps=5), layers=1),
    "logistic regression": Case(LogisticConfig(), steps=120),
    "logistic regression, deviations": Case(LogisticConfig(statistics="mean_std"), layers=1, steps=120),
}
#: systems whose own tests say what they keep: AASIST's graph is fixed by its published weights
APART = {"aasist"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def detector(case: Case, seed=0):
    torch.manual_seed(seed)
    return detector_for(case.config, layers=case.layers, width=case.d_in)


def batch(case: Case, **options):
    return random_batch(case.layers, case.d_in, **options)


def settled(case: Case):
    """A detector in evaluation mode whose running averages have seen a batch."""
    system = detector(case)
    inputs, bonafide = batch(case, seed=1)
    system(used(system, inputs), bonafide)
    return system.eval()


def test_every_system_is_held_to_the_contract():
    assert {case.config.name for case in CASES.values()} | APART == set(MODELS)


@every_case
def test_every_system_keeps_the_contract(case):
    check_back_end(MODELS.class_of(case.config), case.config, case.layers, case.d_in)


@every_case
def test_checkpoint_gives_the_same_scores(case, tmp_path):
    system = settled(case)
    save_detector(tmp_path / "best.safetensors", system, {"epoch": 3})
    other = detector(case, seed=1).eval()
    inputs = used(system, batch(case)[0])
    assert not torch.equal(other.score_prepared(inputs), system.score_prepared(inputs))
    assert load_detector(tmp_path / "best.safetensors", other)["epoch"] == 3
    assert torch.equal(other.score_prepared(inputs), system.score_prepared(inputs))


@every_case
def test_same_seed_gives_the_same_training(case):
    losses = []
    for _ in range(2):
        system = detector(case)
        optimiser = torch.optim.Adam(system.parameters(), 1e-2)
        inputs, bonafide = batch(case)
        for _ in range(2):
            loss = system(used(system, inputs), bonafide)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]


@every_case
def test_bfloat16_gives_finite_scores_and_gradients(case):
    system = detector(case)
    inputs, bonafide = batch(case)
    with torch.autocast("cpu", torch.bfloat16):
        loss = system(used(system, inputs), bonafide)
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in system.parameters())
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert system.eval().score_prepared(used(system, inputs)).isfinite().all()


@every_case
def test_scores_are_cosines(case):
    system = settled(case)
    scores = system.score_prepared(used(system, batch(case)[0]))
    assert scores.shape == (4,) and scores.abs().max() <= 1 + 1e-5


#: each back-end once, as it is by default: the other tests hold its variants to gradients and padding
each_back_end = {type(case.config): name for name, case in reversed(CASES.items())}.values()


@pytest.mark.parametrize("case", [CASES[name] for name in each_back_end], ids=each_back_end)
def test_a_few_utterances_are_learned_by_heart(case):
    system, (inputs, bonafide) = detector(case), batch(case, samples=(4000,) * 8)
    inputs = used(system, inputs)
    optimiser = torch.optim.Adam(system.parameters())
    for remaining in range(case.steps, 0, -1):  # towards the end slowly, so that running averages catch up
        optimiser.param_groups[0]["lr"] = 5e-3 * remaining / case.steps
        optimiser.zero_grad()
        system(inputs, bonafide).backward()
        optimiser.step()
    with torch.no_grad():
        for _ in range(20):  # running averages lag behind such quick learning
            system(inputs, bonafide)
    scores = system.eval().score_prepared(inputs)
    assert scores[bonafide].min() > scores[~bonafide].max()


@every_case
def test_normalisation_is_that_of_the_utterances_given(case):
    model = detector(case).model
    if not model.uses_features:
        assert not hasattr(model, "mvn")
        return
    utterances = [3 + 5 * torch.randn(case.layers, length, case.d_in) for length in (40, 25, 60)]
    model.mvn.fit(utterances)
    frames = model.mvn(torch.cat(utterances, dim=1).unsqueeze(0))
    shape = (1, case.layers, case.d_in)
    torch.testing.assert_close(frames.mean(2), torch.zeros(shape), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(2, correction=0), torch.ones(shape), atol=1e-4, rtol=0)
