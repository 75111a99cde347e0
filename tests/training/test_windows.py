"""Training on windows: how long they are, where they lie, and that nothing else decides it."""

import numpy as np
import pytest
import tiny_training
import torch
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.frontends.base import Crop
from asvtk.frontends.crop import draw_begin
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.frontends.spectrogram import Spectrogram, SpectrogramConfig
from asvtk.frontends.waveform import Waveform, WaveformConfig
from asvtk.io.errors import AsvtkError
from asvtk.training.config import Windows, load_config
from asvtk.training.dataloader import Loader
from asvtk.training.dataset import open_dataset
from asvtk.training.sampler import sample_windows

WINDOWS = (
    "training.windows.shortest=0.2",
    "training.windows.longest=0.5",
)  # the tiny clips have half a second


@pytest.fixture
def stored(corpus):
    """The training set with cached LFCC of whole utterances; it gives features and audio."""
    return tiny_training.open_sets(corpus, load_config(corpus / "c.yaml"))[0]


def test_lengths_are_a_function_of_the_epoch_and_fill_the_range():
    lengths = sample_windows(0.5, 2.0, 100_004, 2000)
    assert lengths == sample_windows(0.5, 2.0, 100_004, 2000) != sample_windows(0.5, 2.0, 100_005, 2000)
    assert 8000 <= min(lengths) < 8100 and 31_900 < max(lengths) <= 32_000
    assert abs(np.mean(lengths) - 20_000) < 500
    assert set(sample_windows(1.0, 1.0, 7, 5)) == {16_000}


def test_places_are_all_that_there_are():
    generator = np.random.default_rng(0)
    assert {draw_begin(10, 4, 3, generator) for _ in range(99)} == {0, 3, 6}
    assert draw_begin(4, 4, 1, generator) == draw_begin(3, 4, 1, generator) == 0


def test_frames_tell_how_far_apart_they_are():
    assert Lfcc(LfccConfig(shift=333, window=333)).frame_shift == 333
    assert Spectrogram(SpectrogramConfig()).frame_shift == 160
    assert Waveform(WaveformConfig()).frame_shift == 1


def test_stored_features_and_audio_are_of_one_window(stored):
    whole = stored[0][0]
    for seed in (1, 2, 3):
        features, audio, _ = stored.draw(0, seed, window=4000)
        assert audio.shape == (4000,) and features.shape == (1, 24, 60)
        again = stored.draw(0, seed, window=4000)
        assert torch.equal(features, again[0]) and torch.equal(audio, again[1])
        begins = [k for k in range(whole.shape[1] - 23) if torch.equal(whole[:, k : k + 24], features)]
        assert len(begins) == 1
        heard = stored.frontend(audio[None], torch.tensor([4000])).x[0]
        # Pre-emphasis and differences at the ends hear beyond the window.
        torch.testing.assert_close(heard[:, 3:-3], features[:, 3:-3], rtol=1e-3, atol=1e-3)
    assert not torch.equal(stored.draw(0, 1, window=4000)[0], stored.draw(0, 2, window=4000)[0])


def test_shorter_utterances_keep_what_they_have(stored):
    features, audio, _ = stored.draw(0, 1, window=16_000)
    assert torch.equal(features, stored[0][0]) and torch.equal(audio, stored[0][1])


def test_crop_makes_of_a_window_what_it_makes_of_a_clip_so_long(tmp_path):
    data = prepare_split(write_tiny_corpus(tmp_path), "train", tmp_path / "data")
    whole, cropped = (open_dataset(data, None, Waveform(WaveformConfig(crop=Crop(n)))) for n in (None, 6000))
    for index in range(3):
        window, repeated = (dataset.draw(index, 9, window=2500)[1] for dataset in (whole, cropped))
        assert window.shape == (2500,) and len(repeated) == 6000
        assert np.array_equal(repeated, np.resize(window, 6000))


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_has_one_length(stored, workers):
    batches = [[0, 1, 2], [3, 4], [5, 0]]
    found = Loader(stored, "cpu", workers)(batches, 5, [4000, 5000, 100_000])
    for (inputs, _), batch, window in zip(found, batches, (4000, 5000, 100_000), strict=True):
        for row, index in enumerate(batch):
            features, audio, _ = stored.draw(index, 5, window)
            assert inputs.lengths[row] == features.shape[1] and inputs.samples[row] == len(audio)
            assert torch.equal(inputs.features[row, :, : features.shape[1]], features)


# An epoch has 3 updates: killed in the first and within later ones.
@pytest.mark.parametrize("killed_in", [2, 6, 8])
def test_killed_run_ends_with_the_same_bits(killed_run, killed_in):
    killed_run(killed_in, *WINDOWS, "training.save_every=1", "training.grad_accum=2")


def test_dev_hears_all_and_training_does_not(run, tmp_path, records):
    """A longest window beyond all utterances is no window; dev is the same either way at a rate of 0."""
    still = ("training.lr=0", "training.lr_end=0", "training.epochs=2", "model.dropout=0")
    for name, more in (("off", ()), ("none", ("training.windows.shortest=6",)), ("on", WINDOWS)):
        run(tmp_path / name, *still, *more)
    off, none, on = (records(tmp_path / name) for name in ("off", "none", "on"))
    assert [line["loss"] for line in none] == [line["loss"] for line in off] != [line["loss"] for line in on]
    assert [line["dev_loss"] for line in on] == [line["dev_loss"] for line in off]


SMALL = "{name: aasist, filters: 12, max_masked: 3, channels: [4, 4], d_graph: 8, d_stack: 8}"
WHOLE = "frontend={name: waveform, crop: {samples: null}}"


@pytest.mark.parametrize(
    "overrides",
    [
        (WHOLE, f"model={SMALL}"),
        ("frontend={name: waveform, crop: {samples: 8000}}", f"model={SMALL}"),
        ("model.name=dual_stream", "model.stack=2", "model.channels=[4,4,4,4,4,4]", "model.filters=12"),
        ("model.name=conv_moe_mamba", "model.stack=1", "model.channels=[4,4]"),
    ],
    ids=["aasist", "aasist, repeated", "dual stream", "convolutions"],
)
def test_back_ends_hear_any_length(run, tmp_path, overrides):
    progress = run(tmp_path, *overrides, *WINDOWS, "training.epochs=1", "training.warmup_epochs=0")
    assert progress["updates"] == 3 and progress["skipped_steps"] == 0


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            ["training.windows={}", "frontend.crop.samples=6000"],
            "windows: the cache .*crop.samples to null",
        ),
        (["training.windows={longest: 0.1}"], "training.windows: expected 0.2 <= shortest <= longest"),
        (["training.windows.short=1"], "training.windows: unknown key 'short'; did you mean 'shortest'"),
        (["training.windows={}", "frontend={name: waveform}"], "longest: 6 s, .* lets 4.037 s be heard"),
    ],
)
def test_what_cannot_be_is_refused(corpus, overrides, message):
    with pytest.raises(AsvtkError, match=message):
        load_config(corpus / "c.yaml", overrides)


def test_windows_are_off_unless_asked_for(corpus):
    assert load_config(corpus / "c.yaml").training.windows is None
    assert load_config(corpus / "c.yaml", ["training.windows={}"]).training.windows == Windows(1.0, 6.0)
