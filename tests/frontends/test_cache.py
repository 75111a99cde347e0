"""The cache: nothing twice, nothing half, nothing of other audio."""

import dataclasses
import os
import shutil
import signal

import numpy as np
import pytest
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.frontends.base import Crop, FrontEnd, FrontEndConfig
from asvtk.frontends.cache import extraction
from asvtk.frontends.cache.extraction import Source, extract_missing
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.cache.store import FeatureCache, cache_name, description
from asvtk.io.ark import ArkWriter
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError


class Spy(FrontEnd):
    """Layer n of an utterance is its first samples times n; counts what it is asked for."""

    label, width, batch_size = "spy", 4, 4

    def __init__(self, *layers):
        super().__init__(FrontEndConfig(crop=Crop(1000)))
        self.layers, self.asked = layers, []
        self.fail_after = self.kill_after = self.spoil = None

    def details(self):
        return {"front-end": "spy"}

    def frames(self, samples):
        return 5

    def lower(self, audio, samples):
        states = {layer: audio[:, :20].reshape(-1, 5, 4) * layer for layer in self.layers}
        if self.spoil is not None and len(self.asked) == 2:
            states[3][1, 2, 3] = self.spoil
        return states


class Watched(Extractor):
    def start(self, batch, layers):
        spy = self.frontend
        if spy.fail_after is not None and len(spy.asked) >= spy.fail_after:
            raise KeyboardInterrupt
        if spy.kill_after is not None and len(spy.asked) >= spy.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        spy.asked.append((len(batch), layers))
        return super().start(batch, layers)


def compute(source, spy, job=1, jobs=1):
    return extract_missing(source, Watched(spy), job, jobs)


@pytest.fixture
def data(tmp_path):
    return prepare_split(write_tiny_corpus(tmp_path), "train", tmp_path / "data" / "train")


@pytest.fixture
def dump(tmp_path):
    return tmp_path / "dump"


def open_cache(dump, spy, data):
    return FeatureCache(dump, cache_name(spy), data.name)


def extract(dump, data, spy, jobs=1):
    cache = open_cache(dump, spy, data)
    cache.claim(data, description(spy))
    for job in range(1, jobs + 1):
        _, faults = compute(Source(data, cache), spy, job, jobs)
        assert faults == {}
    cache.join(data, spy.layers)
    return cache


@pytest.mark.parametrize("jobs", [1, 3, 20])
def test_every_utterance_and_layer_is_there_whatever_the_jobs(dump, data, jobs):
    spy = Spy(1, 2)
    features = extract(dump, data, spy, jobs).open(data, (1, 2))
    for utterance in data.utterances:
        both = features[utterance]
        assert both.shape == (2, 5, 4)
        np.testing.assert_array_equal(both[1], 2 * both[0])
    assert sum(count for count, _ in spy.asked) == 12


@pytest.mark.parametrize("layers, parts", [((1,), 4), ((1, 2), 2), ((1, 2, 3, 4, 5), 1)])
def test_several_writers_give_the_same_in_every_run(dump, data, tmp_path, monkeypatch, layers, parts):
    monkeypatch.setattr(extraction, "_processes", lambda extractor: 4)  # as beside a GPU
    features = extract(dump, data, Spy(*layers)).open(data, layers)
    for utterance in data.utterances:
        np.testing.assert_array_equal(features[utterance][-1], layers[-1] * features[utterance][0])
    again = extract(tmp_path / "again", data, Spy(*layers))
    for layer in layers:
        arks = sorted(again.layer_folder(layer).glob("part.*.ark"))
        others = sorted(open_cache(dump, Spy(1), data).layer_folder(layer).glob("part.*.ark"))
        assert [ark.read_bytes() for ark in arks] == [ark.read_bytes() for ark in others]
        assert len(arks) == parts


def test_more_layers_compute_only_the_missing_ones(dump, data):
    extract(dump, data, Spy(1, 2))
    more = Spy(1, 2, 3)
    extract(dump, data, more)
    assert {layers for _, layers in more.asked} == {(3,)}
    none = Spy(2, 3)
    extract(dump, data, none)
    assert none.asked == []


def test_interrupted_job_goes_on_and_gives_the_same(dump, data, tmp_path):
    expected = extract(tmp_path / "undisturbed", data, Spy(1)).open(data, (1,))
    spy = Spy(1)
    spy.fail_after = 2
    cache = open_cache(dump, spy, data)
    with pytest.raises(KeyboardInterrupt):
        compute(Source(data, cache), spy)
    assert len(cache.completed(1)) == 8
    with pytest.raises(AsvtkError, match="4 of 12 utterances have no features: .*; run stage 2 again"):
        cache.join(data, (1,))
    rest = Spy(1)
    found = extract(dump, data, rest).open(data, (1,))
    assert rest.asked == [(4, (1,))]
    for utterance in data.utterances:
        np.testing.assert_array_equal(found[utterance], expected[utterance])


def test_cut_scp_line_counts_as_not_written(dump, data):
    cache = extract(dump, data, Spy(1))
    (scp,) = cache.layer_folder(1).glob("part.*.scp")
    scp.write_bytes(scp.read_bytes()[:-5])
    assert list(cache.missing(data.utterances, (1,))) == [data.utterances[-1]]


def test_moved_cache_is_joined_anew(dump, data, tmp_path):
    extract(dump, data, Spy(1))
    dump.rename(tmp_path / "moved")
    spy = Spy(1)
    features = extract(tmp_path / "moved", data, spy).open(data, (1,))
    assert spy.asked == [] and features[data.utterances[0]].shape == (1, 5, 4)


def test_features_of_other_audio_are_refused(dump, data):
    extract(dump, data, Spy(1))
    other = dataclasses.replace(data, md5={**data.md5, data.utterances[0]: "another"})
    with pytest.raises(AsvtkError, match=f"holds features of other audio: {data.utterances[0]} is not"):
        open_cache(dump, Spy(1), data).claim(other, description(Spy(1)))


def test_no_features_says_to_run_stage_2(dump, data):
    with pytest.raises(AsvtkError, match="no features of layer 1 .*; run stage 2 first") as error:
        open_cache(dump, Spy(1), data).open(data, (1,))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_never_written(dump, data, value):
    cache, spy = open_cache(dump, Spy(1), data), Spy(2, 3)
    spy.spoil = value
    with pytest.raises(AsvtkError, match="^LA_T_[0-9]+, layer 3: the features are not finite .*; look at"):
        compute(Source(data, cache), spy)
    first = cache.missing(data.utterances, (3,)).keys() - cache.missing(data.utterances, (2,)).keys()
    assert len(first) == 1 and len(cache.completed(3)) >= 5


def test_all_truncated_audio_is_named_and_the_rest_kept(dump, data, tmp_path):
    harmed = [data.utterances[2], data.utterances[9]]
    for utterance in harmed:
        path = tmp_path / "LA" / "ASVspoof2019_LA_train" / "flac" / f"{utterance}.flac"
        path.write_bytes(path.read_bytes()[:3000])
    cache, spy = open_cache(dump, Spy(1), data), Spy(1)
    computed, faults = compute(Source(data, cache), spy)
    assert computed == len(data.utterances) - 2
    assert all(f"{utterance}.flac: " in faults.pop(utterance) for utterance in harmed) and not faults
    assert set(data.utterances) - set(cache.completed(1)) == set(harmed)


def test_skipped_audio_is_left_out_until_it_is_repaired(dump, data, tmp_path):
    harmed = data.utterances[2]
    path = tmp_path / "LA" / "ASVspoof2019_LA_train" / "flac" / f"{harmed}.flac"
    whole = path.read_bytes()
    path.write_bytes(whole[:3000])
    cache = open_cache(dump, Spy(1), data)
    cache.skip(compute(Source(data, cache), Spy(1))[1])
    assert f"{harmed}.flac" in cache.skipped()[harmed]
    cache.join(data, (1,))
    assert cache.open(data, (1,)).utterances == set(data.utterances) - {harmed}
    path.write_bytes(whole)
    assert extract_and_open(dump, data, Spy(1)).utterances == set(data.utterances)


def test_audio_that_broke_after_it_was_cached_is_no_fault(dump, data, tmp_path):
    cache = extract(dump, data, Spy(1))
    (scp,) = cache.layer_folder(1).glob("part.*.scp")
    scp.write_text("".join(scp.read_text().splitlines(keepends=True)[:-1]))  # the last one is lost
    path = tmp_path / "LA" / "ASVspoof2019_LA_train" / "flac" / f"{data.utterances[-2]}.flac"
    path.write_bytes(path.read_bytes()[:3000])  # in the same batch
    assert compute(Source(data, cache), Spy(1)) == (1, {})


def test_augmented_copies_are_of_changed_audio(dump, data):
    def louder(utterance, samples):
        return (2 + data.utterances.index(utterance)) * samples

    cache = FeatureCache(dump, "augmented", "train_copy1")
    compute(Source(data, cache, louder), Spy(1))
    cache.join(data, (1,))
    clean, copy = extract_and_open(dump, data, Spy(1)), cache.open(data, (1,))
    for number, utterance in enumerate(data.utterances, 2):
        np.testing.assert_array_equal(copy[utterance], number * clean[utterance])


@pytest.mark.parametrize("storage, error", [("CM2", 1e-4), ("CM", 0.05)])
def test_storage_is_the_front_ends(dump, data, storage, error):
    exact = extract_and_open(dump, data, Spy(1))
    spy = Spy(1)
    spy.storage = storage
    spy.details = lambda: {"front-end": "spy", "storage": storage}
    stored = extract_and_open(dump, data, spy)
    for utterance in data.utterances:
        np.testing.assert_allclose(stored[utterance], exact[utterance], atol=error)


def test_killed_process_loses_at_most_what_is_under_way(dump, data, monkeypatch):
    monkeypatch.setattr(ArkWriter.__init__, "__defaults__", (300, 5.0))  # three matrices
    cache = open_cache(dump, Spy(1), data)
    if (child := os.fork()) == 0:
        spy = Spy(1)
        spy.batch_size, spy.kill_after = 2, 5
        compute(Source(data, cache), spy)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 9
    done = len(cache.completed(1))
    assert 4 <= done < 12
    spy = Spy(1)
    features = extract_and_open(dump, data, spy)
    assert 0 < len(spy.asked) < 3
    for utterance in data.utterances:
        np.testing.assert_array_equal(
            features[utterance], extract_and_open(dump / "new", data, Spy(1))[utterance]
        )


def extract_and_open(dump, data, spy):
    return extract(dump, data, spy).open(data, spy.layers)


def test_deleted_ark_is_computed_again(dump, data):
    cache = extract(dump, data, Spy(1))
    (ark,) = cache.layer_folder(1).glob("part.*.ark")
    ark.unlink()
    spy = Spy(1)
    assert extract_and_open(dump, data, spy)[data.utterances[0]].shape == (1, 5, 4)
    assert len(spy.asked) == 3


@pytest.mark.parametrize("jobs", [1, 3, 20])
def test_batches_do_not_depend_on_the_number_of_jobs(dump, data, jobs):
    spy = Spy(1)
    extract(dump, data, spy, jobs)
    assert [count for count, _ in spy.asked] == [4, 4, 4]


def test_fault_6_swapped_lines_of_an_index_are_noticed(dump, data):
    cache = extract(dump, data, Spy(1))
    index = cache.layer_folder(1) / "feats.scp"
    (first, a), (second, b), *others = (line.split() for line in index.read_text().splitlines())
    lines = [f"{first} {b}", f"{second} {a}", *(" ".join(line) for line in others)]
    index.write_text("\n".join(lines) + "\n")
    features = cache.open(data, (1,))
    for utterance in (first, second):
        with pytest.raises(
            AsvtkError, match=f"is another one than {utterance}; its index .* run stage 2 again"
        ):
            features[utterance]
    assert features[others[0][0]].shape == (1, 5, 4)
    index.write_text("\n".join([f"{first} {b}", *lines[1:1], f"{second} {b}", *lines[2:]]) + "\n")
    with pytest.raises(AsvtkError, match=f"{first} and {second} have one and the same matrix"):
        cache.open(data, (1,))


def test_fault_6_an_index_of_another_layer_is_refused(dump, data):
    cache = extract(dump, data, Spy(1, 2))
    shutil.copy(cache.layer_folder(2) / "feats.scp", cache.layer_folder(1))
    with pytest.raises(AsvtkError, match="layer_01/feats.scp: leads to features of another kind"):
        cache.open(data, (1,))


def test_fault_24_two_corpora_do_not_share_a_folder(dump, data):
    cache = extract(dump, data, Spy(1))
    tables = {f.name: getattr(data, f.name) for f in dataclasses.fields(data) if f.name != "path"}
    renamed = {name: {f"other_{u}": value for u, value in table.items()} for name, table in tables.items()}
    other = DataDirectory(data.path.parents[1] / "other" / "train", **renamed)
    with pytest.raises(AsvtkError, match="another data set called train, .* no utterance of .*other/train"):
        cache.claim(other, description(Spy(1)))
    cache.claim(data.subset(data.utterances[:3]), description(Spy(1)))  # less of the same
    assert cache.open(data, (1,)).utterances == set(data.utterances)
