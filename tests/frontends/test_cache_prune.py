"""Pruning: what somebody can use stays."""

import os
import shutil
import time

import numpy as np
import pytest
from tiny_cache import Ramp, fill, source_of
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.frontends.cache.check import verify
from asvtk.frontends.cache.contents import find_caches
from asvtk.frontends.cache.prune import CacheInUse, find_named, hold, remove, unused_files
from asvtk.frontends.cache.store import FeatureWriter
from asvtk.io.ark import encode_matrix
from asvtk.io.errors import AsvtkError
from asvtk.io.locks import locked


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare_split(write_tiny_corpus(folder), "train", folder / "data" / "train")


@pytest.fixture
def dump(tmp_path):
    return tmp_path / "dump"


def names(paths):
    return [f"{path.parent.name}/{path.name}" for path in paths]


def test_nothing_of_a_finished_cache_is_unused(dump, data):
    assert unused_files(fill(dump, data, Ramp(1, 2), jobs=3)) == []


def test_what_replaced_a_lost_part_is_kept(dump, data):
    cache = fill(dump, data, Ramp(1, 2), jobs=3)
    (cache.layer_folder(1) / "part.0002.ark").unlink()
    fill(dump, data, Ramp(1, 2))
    unused = unused_files(cache)
    assert "layer_01/part.0002.scp" in names(unused)
    assert {path.stem for path in unused} == {"part.0002"}
    before = cache.open(data, (1, 2))[data.utterances[5]]
    for path in unused:
        remove(cache, path)
    assert unused_files(cache) == [] and verify(cache) == (24, [])
    np.testing.assert_array_equal(cache.open(data, (1, 2))[data.utterances[5]], before)
    assert bytes_missing(dump, data) == {}


def bytes_missing(dump, data):
    source = source_of(dump, data, Ramp(1, 2))
    return source.cache.missing(data.utterances, (1, 2))


def test_second_copies_and_parts_of_nothing_are_unused(dump, data):
    cache = fill(dump, data, Ramp(1))
    with FeatureWriter(cache) as writer:  # as two stage 2 that ran at once
        writer.write_batch({data.utterances[0]: {1: [encode_matrix(np.ones((80, 4), np.float32))]}})
    for suffix in ("ark", "scp"):  # killed before anything was written
        (cache.layer_folder(1) / f"part.0003.{suffix}").touch()
    assert names(unused_files(cache)) == [
        f"layer_01/part.000{number}.{suffix}" for number in (2, 3) for suffix in ("ark", "scp")
    ]


def test_parts_of_an_unfinished_layer_are_of_use(dump, data):
    cache = fill(dump, data, Ramp(1))
    with FeatureWriter(cache) as writer:
        writer.write_batch({data.utterances[0]: {2: [encode_matrix(np.ones((80, 4), np.float32))]}})
    assert unused_files(cache) == []


def test_what_training_reads_is_of_use_even_when_an_older_copy_came_back(dump, data):
    cache = fill(dump, data, Ramp(1), jobs=3)
    lost = next(cache.layer_folder(1).glob("part.*.ark"))
    lost.rename(dump / "backup")
    fill(dump, data, Ramp(1))
    lost.unlink(missing_ok=True)
    (dump / "backup").rename(lost)
    assert unused_files(cache) == []


def test_moved_cache_is_of_use_before_it_is_joined_anew(tmp_path, dump, data):
    cache = fill(dump, data, Ramp(1))
    dump.rename(tmp_path / "moved")
    assert unused_files(type(cache)(tmp_path / "moved", cache.root.name, "train")) == []


def test_temporary_files_go_when_they_are_old(dump, data):
    cache = fill(dump, data, Ramp(1))
    places = [cache.root / ".manifest.json.x1.tmp", cache.folder / ".utt2md5.x2.tmp"]
    places.append(cache.layer_folder(1) / ".feats.scp.x3.tmp")
    for place in places:
        place.touch()
    assert unused_files(cache) == []
    for place in places:
        os.utime(place, (time.time() - 7200,) * 2)
    assert unused_files(cache) == sorted(places)


@pytest.mark.parametrize("name", [".lock", ".job.2.of.4.lock"])
def test_cache_in_use_is_not_held(dump, data, name):
    cache = fill(dump, data, Ramp(1))
    (cache.folder / ".job.1.of.4.lock").touch()  # of a job that is done
    message = f"in use by process {os.getpid()} on .*, which computes"
    with locked(cache.folder / name, "computes"), pytest.raises(CacheInUse, match=message), hold(cache):
        pass
    with hold(cache), pytest.raises(CacheInUse), hold(cache):
        pass
    with hold(cache):
        pass


def test_names_of_front_ends_data_sets_and_layers(dump, data):
    cache = fill(dump, data, Ramp(1, 12))
    shutil.copytree(cache.folder, cache.root / "dev")
    root = cache.root.name
    assert [folder for _, folder in find_named(dump, root)] == [cache.root / "dev", cache.folder]
    assert find_named(dump, f"{root}/train/")[0][1] == cache.folder
    assert find_named(dump, f"{root}/train/layer_12")[0][1] == cache.layer_folder(12)
    for wrong in (
        "ramp",
        f"{root}/eval",
        f"{root}/train/layer_02",
        f"{root}/train/layer_12/x",
        "",
        ".",
        "..",
    ):
        with pytest.raises(AsvtkError, match="holds no cache"):
            find_named(dump, wrong)


def test_removed_layer_is_computed_again_and_others_stay(dump, data):
    cache = fill(dump, data, Ramp(1, 2))
    remove(cache, cache.layer_folder(2))
    assert not cache.layer_folder(2).exists() and verify(cache) == (12, [])
    assert set(bytes_missing(dump, data).values()) == {(2,)}
    with pytest.raises(AsvtkError, match="run stage 2 first"):
        cache.open(data, (1, 2))
    fill(dump, data, Ramp(1, 2))
    assert verify(cache) == (24, [])


def test_last_data_set_takes_the_manifest_with_it(dump, data):
    cache = fill(dump, data, Ramp(1))
    shutil.copytree(cache.folder, cache.root / "dev")
    with hold(cache):
        remove(cache, cache.folder)
    (dev,) = find_caches(dump)
    assert dev.folder.name == "dev" and (cache.root / "manifest.json").exists()
    with hold(dev):
        remove(dev, dev.folder)
    assert list(dump.iterdir()) == []


def test_fault_20_links_are_not_followed_and_foreign_files_stay(dump, data, tmp_path, capsys):
    cache = fill(dump, data, Ramp(1, 2))
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("feats.scp", "part.0009.scp", "precious"):
        (outside / name).write_text("x")
    (cache.folder / "layer_77").symlink_to(outside)
    (cache.folder / "notes.txt").write_text("x")
    with hold(cache):
        remove(cache, cache.folder)
    assert sorted(path.name for path in outside.iterdir()) == ["feats.scp", "part.0009.scp", "precious"]
    assert sorted(path.name for path in cache.folder.iterdir()) == ["layer_77", "notes.txt"]
    assert "notes.txt" in capsys.readouterr().err
