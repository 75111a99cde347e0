"""Batches, and the audio of systems that want it."""

import pytest
import torch
from tiny_cache import Ramp, fill
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.frontends.base import Crop
from asvtk.frontends.waveform import Waveform, WaveformConfig
from asvtk.io.ark import StoredMatrices
from asvtk.io.errors import AsvtkError
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.testing import detector_for
from asvtk.training.collate import collate
from asvtk.training.dataloader import Loader
from asvtk.training.dataset import UtteranceDataset, open_dataset


def test_several_data_directories_are_one_set(tmp_path, audio_set):
    data = prepare_split(write_tiny_corpus(tmp_path / "b"), "dev", tmp_path / "b" / "data")
    both = open_dataset([audio_set.data, data], None, Waveform(WaveformConfig()))
    assert both.utterances == sorted(audio_set.data.utterances + data.utterances)
    index = both.utterances.index(data.utterances[1])
    alone = open_dataset(data, None, Waveform(WaveformConfig()))
    assert torch.equal(both[index][1], alone[1][1]) and both.bonafide.sum() == 10
    with pytest.raises(AsvtkError, match="is also in"):
        open_dataset([data, data], None, Waveform(WaveformConfig()))


def test_shorter_utterances_are_padded_behind():
    items = [
        (torch.ones(2, 3, 4), torch.ones(7), torch.tensor(True)),
        (2 * torch.ones(2, 5, 4), torch.ones(9), torch.tensor(False)),
    ]
    (features, lengths, audio, samples), bonafide = collate(items)
    assert (
        features.shape == (2, 2, 5, 4) and lengths.tolist() == [3, 5] and bonafide.tolist() == [True, False]
    )
    assert (features[0, :, :3] == 1).all() and (features[0, :, 3:] == 0).all() and (features[1] == 2).all()
    assert samples.tolist() == [7, 9] and audio.sum(1).tolist() == [7, 9] and (audio[0, 7:] == 0).all()


@pytest.fixture
def audio_set(tmp_path):
    data = prepare_split(write_tiny_corpus(tmp_path), "train", tmp_path / "data")

    def open_with(**settings):
        return open_dataset(data, None, Waveform(WaveformConfig(**settings)))

    open_with.data = data
    return open_with


def test_random_crops_are_a_function_of_epoch_and_utterance(audio_set):
    dataset = audio_set(crop=Crop(1000))
    heads = [dataset[0][1], dataset[1][1]]
    first = [dataset.draw(index, 1)[1] for index in (0, 1, 0)]
    assert all(len(crop) == 1000 for crop in [*heads, *first])
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], heads[0]) and not torch.equal(first[0], dataset.draw(0, 2)[1])
    still = audio_set(crop=Crop(1000), random_crop=False)
    assert torch.equal(still.draw(0, 1)[1], heads[0])


def test_worker_processes_change_nothing(audio_set):
    dataset = audio_set(crop=Crop(1000))
    alone = [dataset.draw(index, 7)[1] for index in range(6)]
    batches = Loader(dataset, "cpu", workers=2)([[0, 1, 2], [3, 4, 5]], epoch_seed=7)
    assert torch.equal(torch.cat([inputs.audio for inputs, _ in batches]), torch.stack(alone))


def test_slots_are_used_in_turn_and_after_an_epoch_was_left(audio_set):
    dataset = audio_set(crop=Crop(None))  # whole utterances, of different lengths
    plain, working = Loader(dataset, "cpu"), Loader(dataset, "cpu", workers=2)
    batches = [[n % 6, (n + 1) % 6, (n * n) % 6] for n in range(14)] + [[3]]
    next(working(batches, 1))  # and no more of this epoch
    for seed, some in ((2, batches), (3, batches[:2]), (4, batches + [[0, 1, 2, 3, 4]])):
        for (ours, labels), (theirs, expected) in zip(working(some, seed), plain(some, seed), strict=True):
            assert torch.equal(ours.audio, theirs.audio) and torch.equal(ours.samples, theirs.samples)
            assert torch.equal(labels, expected)


def test_system_that_needs_features_refuses_audio_alone():
    with pytest.raises(AsvtkError, match="model moe_mamba: needs the features of a front-end"):
        detector_for(MoeMambaConfig(d_model=16, blocks=1), layers=0, width=0)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kinds", [("CM2",), ("FM",), ("CM",), ("CM2", "FM")])
def test_features_that_are_decoded_last_are_the_same_bits(tmp_path, kinds, workers):
    """With two versions, of which each utterance hears one, batches are mixed."""
    data = prepare_split(write_tiny_corpus(tmp_path), "train", tmp_path / "data")
    versions, layers = [], (0, 1, 2)
    for kind in kinds:
        frontend = Ramp(*layers, storage=kind)
        versions.append(fill(tmp_path / "dump", data, frontend).open(data, layers))
    dataset = UtteranceDataset(data, frontend, versions)
    batches, windows = [[0, 1, 2], [5, 4, 3], [1], [0, 2, 4, 5]], [None, 2500, 3000, 10**6]
    plain = Loader(dataset, "cpu", 0, compressed=False)(batches, 3, windows)
    found = list(Loader(dataset, "cpu", workers, compressed=True)(batches, 3, windows))
    for (ours, labels), (theirs, expected) in zip(found, plain, strict=True):
        assert torch.equal(ours.lengths, theirs.lengths) and torch.equal(labels, expected)
        assert torch.equal(ours.audio, theirs.audio) and ours.features.dtype == torch.float32
        assert ours.features.isfinite().all()
        for row, other, length in zip(ours.features, theirs.features, ours.lengths, strict=True):
            assert torch.equal(row[:, :length], other[:, :length])
    drawn = [dataset.draw(index, 3, unread=True)[0] for index in range(6)]
    assert any(isinstance(x, StoredMatrices) for x in drawn) == ("CM2" in kinds)


def test_features_of_which_an_ark_was_cut_are_a_fault_that_names_it(tmp_path):
    data = prepare_split(write_tiny_corpus(tmp_path), "train", tmp_path / "data")
    frontend = Ramp(0, 1, storage="CM2")
    dataset = UtteranceDataset(data, frontend, [fill(tmp_path / "dump", data, frontend).open(data, (0, 1))])
    folder = next((tmp_path / "dump").glob("*/*/layer_01"))
    first, second = (folder / "part.0001.scp").read_text().splitlines()[:2]
    content = bytearray((folder / "part.0001.ark").read_bytes())
    content[int(second.rpartition(":")[2]) - len(second.split()[0]) - 1] = 0  # behind the first entry
    (folder / "part.0001.ark").write_bytes(content)
    index = dataset.utterances.index(first.split()[0])
    for workers in (0, 2):
        with pytest.raises(AsvtkError, match="layer_01/part.0001.ark: damaged at byte"):
            list(Loader(dataset, "cpu", workers, compressed=True)([[index]]))
