"""What is different on a GPU: recorded steps, batches copied ahead, deterministic kernels, live features."""

import signal

import numpy as np
import pytest
import tiny_training
import torch
from tiny_models import LARGE, save_model

from asvtk.frontends.base import Crop
from asvtk.frontends.ssl.frontend import Ssl, SslConfig
from asvtk.models import Batch, assemble
from asvtk.models.aasist import AasistConfig
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig
from asvtk.testing import detector_for
from asvtk.training.checkpoint import read_training
from asvtk.training.config import Rates, TrainingConfig, load_config
from asvtk.training.dataloader import Loader
from asvtk.training.optim import build_optimiser, set_rates
from asvtk.training.state import TrainingState
from asvtk.training.step import GradientStep

#: wide enough for the kernels of half precision
WIDE = dict(hidden_size=128, num_attention_heads=2, conv_dim=(64,) * 7)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def trained(record: bool, steps: int, recorded_again_after: int | None = None):
    """Losses of some steps with dropout, and the weights they lead to."""
    torch.manual_seed(0)
    model = MoeMambaConfig(d_model=32, blocks=2, d_state=4, d_expert=16, dropout=0.2)
    detector = detector_for(model, layers=1, width=6).cuda().train()
    state = TrainingState(detector, build_optimiser(detector, TrainingConfig()))
    step = GradientStep(detector, 1.0, record=record)
    set_rates(state.optimiser, 1e-3)
    generator, losses = torch.Generator().manual_seed(1), []
    torch.manual_seed(5)
    for number in range(steps):
        if number == recorded_again_after:
            step = GradientStep(detector, 1.0, record=record)
        size = 3 if number % 4 == 3 else 8  # such as the rest of an epoch
        features = torch.randn(size, 1, 40, 6, generator=generator).cuda()
        lengths = torch.randint(20, 41, (size,), generator=generator).cuda()
        bonafide = (torch.rand(size, generator=generator) < 0.5).cuda()
        loss, _, _ = step([(Batch(features, lengths, None, None), bonafide)], size)
        state.update()
        losses.append(loss)
    return losses, [parameter.detach().clone() for parameter in detector.parameters()]


def test_recorded_steps_are_those_of_python():
    """With the same dropout, too: a recording draws on where the generator stands."""
    (losses, weights), (expected, plain) = trained(True, 12), trained(False, 12)
    assert losses == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(weights, plain, rtol=1e-2, atol=1e-3)


def test_recording_anew_changes_nothing():
    (losses, weights), (expected, plain) = trained(True, 12, recorded_again_after=6), trained(True, 12)
    assert losses == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(weights, plain, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def speech_model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("ssl"), **WIDE, **LARGE)


def trained_live(speech_model, device: str, record: bool, precision="float32", steps=8):
    """Losses of some steps, one block unfrozen halfway, and the weights they lead to."""
    config = SslConfig(speech_model, crop=Crop(6000), cache=False, trainable=2, precision=precision)
    frontend = Ssl(config).load()
    torch.manual_seed(0)
    model = MoeMambaConfig(d_model=32, blocks=1, d_state=4, d_expert=16, dropout=0)
    detector = assemble(frontend, model, OcSoftmaxConfig()).to(device).train()
    settings = TrainingConfig(rates=Rates((("frontend", 1e-4),)))
    state = TrainingState(detector, build_optimiser(detector, settings))
    set_rates(state.optimiser, 1e-3)
    generator, losses = np.random.default_rng(1), []
    for number in range(steps):
        if number in (0, steps // 2):
            frontend.train_top(1 if number == 0 else 2)
            step = GradientStep(detector, 1.0, precision=precision, record=record)
        size = 3 if number % 4 == 3 else 8  # such as the rest of an epoch
        audio = [generator.normal(size=6000).astype(np.float32) * generator.uniform() for _ in range(size)]
        given = torch.from_numpy(np.stack([frontend.prepare(x) for x in audio])).to(device)
        lengths = torch.full((size,), 6000, device=device)
        bonafide = torch.from_numpy(generator.random(size) < 0.5).to(device)
        loss, _, _ = step([(Batch(given, lengths, None, None), bonafide)], size)
        state.update()
        losses.append(loss)
    return losses, {name: x.detach().cpu() for name, x in detector.named_parameters()}


def test_live_steps_are_those_of_the_cpu_recorded_or_not(speech_model):
    expected, weights = trained_live(speech_model, "cpu", record=False)
    for record in (False, True):
        losses, found = trained_live(speech_model, "cuda", record)
        assert losses == pytest.approx(expected, rel=1e-2)
        for name, tensor in weights.items():
            torch.testing.assert_close(found[name], tensor, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("record", [False, True])
def test_live_steps_in_bfloat16_are_near(speech_model, record):
    """Half precision takes the frozen part to the Triton kernels."""
    expected, _ = trained_live(speech_model, "cpu", record=False)
    losses, _ = trained_live(speech_model, "cuda", record, precision="bfloat16")
    assert losses == pytest.approx(expected, rel=0.1)


def test_aasist_can_be_recorded():
    """It looks at the lengths of rows, which a GPU cannot tell while a step is recorded."""
    detector = detector_for(AasistConfig(), layers=0).cuda().train()
    step = GradientStep(detector, 0.0, record=True)
    audio, samples = 0.1 * torch.randn(4, 16_000, device="cuda"), torch.full((4,), 16_000, device="cuda")
    bonafide = torch.tensor([True, False, True, False], device="cuda")
    loss, norm, _ = step([(Batch(None, None, audio, samples), bonafide)], 4)
    assert 0 < loss < 100 and 0 < norm < float("inf")


@pytest.mark.parametrize("record", [False, True])
def test_compiled_steps_are_those_of_python(record):
    """But for convolutions in TF32."""
    audio, samples = 0.1 * torch.randn(4, 16_000, device="cuda"), torch.full((4,), 16_000, device="cuda")
    bonafide, found = torch.tensor([True, False, True, False], device="cuda"), []
    for fuse in (False, True):
        torch.manual_seed(0)
        detector = detector_for(AasistConfig(max_masked=0), layers=0).cuda().train()
        for part in detector.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        step = GradientStep(detector, 0.0, record=record, fuse=fuse)
        losses = step([(Batch(None, None, audio, samples), bonafide)], 4)[:2]
        found.append((losses, torch.cat([x.grad.flatten().clone() for x in detector.parameters()])))
    (expected, wanted), (ours, gradient) = found
    assert ours == pytest.approx(expected, rel=1e-2)
    assert (gradient - wanted).norm() < 0.05 * wanted.norm()


def test_batches_are_those_of_the_cpu(cropped):
    dataset = tiny_training.open_sets(cropped, load_config(cropped / "c.yaml"))[0]
    batches = [[0, 1, 2], [5, 4, 3], [7]]
    on_gpu = list(Loader(dataset, "cuda", workers=2)(batches, 3))
    for (ours, labels), (theirs, expected) in zip(on_gpu, Loader(dataset, "cpu")(batches, 3), strict=True):
        assert ours.features.is_cuda and torch.equal(ours.features.cpu(), theirs.features)
        assert torch.equal(labels.cpu(), expected)


@pytest.fixture(scope="module")
def live(tmp_path_factory, speech_model):
    folder = tmp_path_factory.mktemp("live")
    tiny_training.prepare(folder, f"{{name: ssl, model: {speech_model}, crop: {{samples: 6000}}}}")
    return folder


LIVE = (
    "frontend.cache=false", "frontend.trainable=2", "frontend.random_crop=true", "augmentation.seed=3",
    "training.unfreeze={5: 1, 12: 2}", "training.rates={frontend: 1.0e-4}", "training.precision=bfloat16",
)  # fmt: skip


@pytest.mark.parametrize(
    "corpus, more",
    [("cropped", ()), ("live", LIVE)],
    ids=["cached", "live"],
)
def test_deterministic_run_ends_with_the_same_bits_after_kills(
    corpus, more, tmp_path, processes, content, request
):
    folder = request.getfixturevalue(corpus)
    settings = ("training.deterministic=true", "training.save_every=1", "training.epochs=30", *more)

    def start(exp):
        begun, tell = processes.Pipe(duplex=False)
        process = processes.Process(
            target=tiny_training.run_alone, args=(tell, folder, exp, *settings), kwargs={"device": "cuda"}
        )
        process.start()
        begun.recv()
        return process

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    start(undisturbed).join()
    for updates in (7, 40):
        process = start(killed)
        while not (found := read_training(killed / "checkpoints")) or found[2]["updates"] < updates:
            process.join(0.05)
            assert process.exitcode is None
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    start(killed).join()
    for name in ("last", "best"):
        assert content(killed, name) == content(undisturbed, name)
