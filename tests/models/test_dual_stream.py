"""Dual stream: the time axis of its audio stream, and how the two streams meet."""

import pytest
import torch

from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.models import Batch
from asvtk.models.dual_stream import DualStream, DualStreamConfig

SMALL = dict(d_model=16, blocks=1, d_state=4, d_expert=24, d_embedding=12, heads=2)
SMALL |= dict(filters=10, taps=129, channels=(4, 4, 6, 6, 6, 6))


def model(layers=2, **options):
    torch.manual_seed(0)
    return DualStream(DualStreamConfig(**SMALL, **options), layers, 10 if layers else 0).eval()


def inputs(samples, frames):
    samples, frames = torch.tensor(samples), torch.tensor(frames)
    features = torch.randn(len(frames), 2, int(frames.max()), 10)
    return Batch(features, frames, 0.1 * torch.randn(len(samples), int(samples.max())), samples)


@pytest.mark.parametrize(
    "streams, features, audio", [("both", True, True), ("features", True, False), ("audio", False, True)]
)
def test_system_says_what_it_hears_and_owns_nothing_else(streams, features, audio):
    system = model(streams=streams)
    assert (system.uses_features, system.uses_audio) == (features, audio)
    names = {name.split(".")[0] for name in system.state_dict()}
    assert ("mvn" in names, "audio" in names, "fusion" in names) == (features, audio, features and audio)


def test_audio_alone_needs_no_front_end():
    both = inputs([6400, 5000], [19, 15])
    system = model(layers=0, streams="audio")
    assert system(Batch(None, None, both.audio, both.samples)).embedding.isfinite().all()


@pytest.mark.parametrize("hop", [10, 80])
def test_audio_has_as_many_frames_as_ssl_models_or_one_more(hop):
    stream = model(hop=hop).audio
    for samples in [*range(400, 1500, 19), 63_999, 64_000, 64_600]:
        ssl_frames = (samples - 400) // 320 + 1
        x, lengths = stream(torch.zeros(1, samples), torch.tensor([samples]))
        assert x.shape[1] == lengths[0] and 0 <= lengths[0] - ssl_frames <= 1
    assert lengths[0] == 201  # the field's crop


@pytest.mark.parametrize("hop", [10, 20, 40, 80])
@pytest.mark.parametrize("frame", [0, 3, 8])
def test_a_click_in_the_middle_of_an_ssl_frame_is_in_the_middle_of_ours(frame, hop):
    stream = model(hop=hop).audio
    audio = torch.zeros(1, 3300)
    audio[0, 320 * frame + 200] = 0.9  # SSL frames hear samples 320 t ... 320 t + 399
    power = stream.bank(stream._pad(audio, 10))[0]
    columns = 320 // hop
    assert power.shape[1] == 10 * columns
    loudest = power[3:].sum(0).argmax().item() - columns * frame
    assert loudest in (columns // 2 - 1, columns // 2)


def test_every_sample_of_a_frame_is_heard():
    stream = model().audio
    audio = (0.1 * torch.randn(1, 6500)).requires_grad_()
    x, _ = stream(audio, torch.tensor([6500]))
    (gradient,) = torch.autograd.grad(x[0, 5].square().sum(), audio)
    assert (gradient[0, 320 * 5 + 45 : 320 * 6 + 45] != 0).all()


def test_noise_behind_an_utterance_is_not_heard():
    system, batch = model(streams="audio"), inputs([6400, 5000], [19, 15])
    behind = torch.arange(6400) >= batch.samples.unsqueeze(1)
    quiet, noisy = batch.audio * ~behind, batch.audio + behind
    assert not torch.equal(quiet, noisy)
    quiet, noisy = (system(batch._replace(audio=audio)).embedding for audio in (quiet, noisy))
    torch.testing.assert_close(noisy, quiet, rtol=0, atol=0)


def test_gate_decides_which_stream_is_heard():
    system, batch = model(), inputs([6400, 5000], [19, 15])
    heard = system(batch).embedding
    for bias, deaf_to in ((100.0, "audio"), (-100.0, "features")):
        system.fusion.to_gate.bias.data.fill_(bias)
        before = system(batch).embedding
        changed = batch._replace(**{deaf_to: 0.3 * torch.randn_like(getattr(batch, deaf_to))})
        torch.testing.assert_close(system(changed).embedding, before)
        assert not torch.allclose(before, heard, atol=1e-4)


def test_features_twice_as_fast_are_refused_and_stacked_ones_are_not():
    lfcc = [(samples - 320) // 160 + 1 for samples in (16_000, 9_999)]
    batch = inputs([16_000, 9_999], lfcc)
    with pytest.raises(AsvtkError, match="99 frames of features, 49 of audio; set stack and audio_stack"):
        model()(batch)
    assert model(stack=2)(batch).embedding.isfinite().all()
    assert model(stack=4, audio_stack=2)(batch).embedding.isfinite().all()


@pytest.mark.parametrize("hop", [10, 80])
def test_lfcc_in_pairs_are_never_refused(hop):
    for samples in range(400, 1500, 91):
        batch = inputs([samples], [(samples - 320) // 160 + 1])
        assert model(stack=2, hop=hop)(batch).embedding.isfinite().all()


@pytest.mark.parametrize(
    "content, message",
    [
        ({"filters": 0}, "filters must be positive"),
        ({"taps": 128}, "taps 128 must be odd"),
        ({"taps": 65, "hop": 80}, r"taps 65 must be odd and not fewer than hop \(80\)"),
        ({"min_width": -50.0}, "min_width must lie between 0 and 4000 Hz"),
        ({"min_width": 5000.0}, "min_width must lie between 0 and 4000 Hz"),
        ({"channels": [8, 8]}, "channels must be 6 positive numbers"),
        ({"channels": [8, 8, 8, 0, 8, 8]}, "channels must be 6 positive numbers"),
        ({"hop": 15}, "expected 10 or 20 or 40 or 80"),
        ({"audio_stack": 0}, "audio_stack must be positive"),
        ({"fusion": "attention", "heads": 5}, r"d_model 144 must be a multiple of 2 \* heads \(10\)"),
        ({"fusion": "mean"}, "expected gated or concat or attention"),
        ({"top_k": 9}, "top_k 9 must lie between 1 and experts"),
    ],
)
def test_impossible_settings_are_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(DualStreamConfig, content, "c.yaml: model")
