"""What caches hold, and what stage 2 will add, to the last byte."""

import dataclasses
import shutil

import pytest
from tiny_cache import Ramp, fill, source_of
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.frontends.base import Crop
from asvtk.frontends.cache.contents import (
    bytes_by_layer,
    bytes_needed,
    contents,
    find_caches,
    human_bytes,
    layers_of,
    require_space,
)
from asvtk.frontends.cache.extraction import Source
from asvtk.frontends.cache.store import FeatureCache
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.io.errors import AsvtkError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare_split(write_tiny_corpus(folder), "train", folder / "data" / "train")


def ark_bytes(cache, layer):
    return sum(ark.stat().st_size for ark in cache.layer_folder(layer).glob("*.ark"))


@pytest.mark.parametrize("storage", ["FM", "CM2", "CM"])
@pytest.mark.parametrize("jobs", [1, 5])
def test_predicted_bytes_are_those_of_the_finished_cache(tmp_path, data, storage, jobs):
    frontend = Ramp(0, 3, storage=storage)
    predicted = bytes_by_layer(source_of(tmp_path / "dump", data, frontend), frontend)
    cache = fill(tmp_path / "dump", data, frontend, jobs)
    assert predicted == {layer: ark_bytes(cache, layer) for layer in (0, 3)}
    assert bytes_needed(source_of(tmp_path / "dump", data, frontend), frontend) == 0


@pytest.mark.parametrize("crop", [Crop(), Crop(None), Crop(3000)])
def test_predicted_bytes_of_a_real_front_end(tmp_path, data, crop):
    frontend = Lfcc(LfccConfig(crop=crop))
    predicted = bytes_needed(source_of(tmp_path / "dump", data, frontend), frontend)
    assert predicted == ark_bytes(fill(tmp_path / "dump", data, frontend), 0)


def test_only_what_is_missing_is_predicted(tmp_path, data):
    fill(tmp_path / "dump", data, Ramp(1), jobs=3)
    more = Ramp(1, 2)
    cache = source_of(tmp_path / "dump", data, more).cache
    before = ark_bytes(cache, 1)
    next(cache.layer_folder(1).glob("*.ark")).unlink()
    lost = before - ark_bytes(cache, 1)
    predicted = bytes_by_layer(source_of(tmp_path / "dump", data, more), more)
    fill(tmp_path / "dump", data, more)
    assert 0 < lost < before
    assert predicted == {1: lost, 2: before} == {1: before - (before - lost), 2: ark_bytes(cache, 2)}


def test_names_beyond_ascii_count_by_their_bytes(tmp_path, data):
    first = data.utterances[0]

    def rename(table):
        return {(f"LA_Ö_{key}" if key == first else key): value for key, value in table.items()}

    names = [field.name for field in dataclasses.fields(data) if field.name != "path"]
    data = dataclasses.replace(data, **{name: rename(getattr(data, name)) for name in names})
    predicted = bytes_needed(source_of(tmp_path / "dump", data, Ramp(1)), Ramp(1))
    assert predicted == ark_bytes(fill(tmp_path / "dump", data, Ramp(1)), 1)


def test_space_that_is_not_there_is_told_in_one_line(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(
        AsvtkError,
        match=r"dump: needs \d+ TB, .* are free on /.*; name fewer layers, a smaller storage \(CM2, CM\)",
    ):
        require_space(tmp_path / "not" / "yet" / "dump", free + 10**16)
    require_space(tmp_path / "not" / "yet" / "dump", 1000)
    require_space(tmp_path, 0)
    assert not (tmp_path / "not").exists()


def test_space_is_that_of_the_folder_named(tmp_path, monkeypatch):
    asked = []

    def disk_usage(path):
        asked.append(path)
        return shutil._ntuple_diskusage(100, 60, 40)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    require_space(tmp_path, 40)
    with pytest.raises(AsvtkError, match="needs 41 bytes, 40 bytes are free"):
        require_space(tmp_path, 41)
    assert asked == [tmp_path, tmp_path]


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1234567, "1.23 MB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (2_510_000_000_000, "2.51 TB"),
        (12_345_000_000_000_000, "12345 TB"),
    ],
)
def test_bytes_in_words(count, text):
    assert human_bytes(count) == text


def test_contents_of_a_cache(tmp_path, data):
    cache = fill(tmp_path / "dump", data, Ramp(0, 3, 12))
    found = contents(cache)
    assert (found.layers, found.utterances, found.done, found.skipped) == ((0, 3, 12), 12, 36, 0)
    assert found.joined and found.size == sum(
        path.stat().st_size for path in cache.folder.rglob("*") if path.is_file()
    )
    (cache.layer_folder(3) / "feats.scp").unlink()
    assert not contents(cache).joined
    (cache.layer_folder(12) / "part.0001.ark").unlink()
    assert contents(cache).done == 24
    cache.skip(dict.fromkeys(data.utterances[:2], "truncated"))
    assert (contents(cache).done, contents(cache).skipped) == (26, 2)


def test_only_caches_are_found_in_a_dump_folder(tmp_path, data):
    cache = fill(tmp_path / "dump", data, Ramp(1))
    (tmp_path / "dump" / "log").mkdir()
    (tmp_path / "dump" / "other" / "train" / "layer_01").mkdir(parents=True)
    (cache.root / "empty").mkdir()
    (cache.folder / "layer_x").mkdir()
    assert [found.folder for found in find_caches(tmp_path / "dump")] == [cache.folder]
    assert layers_of(cache) == (1,)
    with pytest.raises(AsvtkError, match="none: no such folder"):
        list(find_caches(tmp_path / "none"))


def test_sources_of_copies_count_by_themselves(tmp_path, data):
    fill(tmp_path / "dump", data, Ramp(1))
    copy = Source(data, FeatureCache(tmp_path / "dump", "ramp-of-copies", "train_copy1"), lambda u, a: a)
    assert bytes_needed(copy, Ramp(1)) == bytes_needed(source_of(tmp_path / "empty", data, Ramp(1)), Ramp(1))
