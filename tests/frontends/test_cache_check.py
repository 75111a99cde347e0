"""Whatever is damaged is found, and the remedy that is told mends it."""

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_cache import Ramp, fill
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.frontends.cache import check
from asvtk.frontends.cache.check import verify
from asvtk.frontends.cache.store import FeatureWriter
from asvtk.io.ark import encode_matrix
from asvtk.io.tables import read_table, write_table


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare_split(write_tiny_corpus(folder), "train", folder / "data" / "train")


@pytest.fixture
def cache(tmp_path, data):
    return fill(tmp_path / "dump", data, Ramp(1, 2, 3), jobs=2)


def overwrite(cache, layer, utterance, back, what):
    """Write over an entry of an ark, ``back`` bytes before the matrix begins."""
    ark, offset = cache.completed(layer)[utterance]
    with open(ark, "r+b") as stream:
        stream.seek(offset - back)
        stream.write(what)
    return ark


def follow_the_remedy(problem):
    """Remove what a line says to remove."""
    (files,) = re.findall(r"\(rm (.*?)\)", problem)
    for pattern in files.split():
        removed = list(Path(pattern).parent.glob(Path(pattern).name))
        assert len(removed) == 2
        for path in removed:
            path.unlink()


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("storage", ["FM", "CM2", "CM"])
def test_finished_cache_is_sound(tmp_path, data, storage, quick, monkeypatch):
    monkeypatch.setattr(check, "_CHUNK", 5)
    assert verify(fill(tmp_path / "dump", data, Ramp(1, 2, storage=storage), jobs=3), quick) == (24, [])


FRAMES, NUMBERS = 6, 15  # where in an FM entry the number of frames stands, and the first number

DAMAGE = {
    "no matrix": (0, b"\0BDM ", "holds no matrix"),
    "another shape": (-FRAMES, (79).to_bytes(4, "little"), "no entry begins behind them"),
    "huge": (-FRAMES, (1 << 30).to_bytes(4, "little"), "ends before the entry does"),
    "no frames": (-FRAMES, bytes(4), "is empty"),
    "not finite": (-NUMBERS, np.float32(np.inf).tobytes(), "not finite"),
    "another name": (8, b"X", "the name before byte"),
}


@pytest.mark.parametrize("back, what, fault", DAMAGE.values(), ids=DAMAGE)
def test_damaged_matrix_is_named_and_the_remedy_mends_it(tmp_path, data, cache, back, what, fault):
    utterance = data.utterances[3]
    ark = overwrite(cache, 2, utterance, back, what)
    count, problems = verify(cache)
    assert count == 36
    (problem,) = problems
    assert problem.startswith(f"{ark}: 1 matrices are damaged: {utterance} (first: ") and fault in problem
    follow_the_remedy(problem)
    fill(tmp_path / "dump", data, Ramp(1, 2, 3))
    assert verify(cache) == (36, [])


def test_quick_reads_no_numbers(data, cache):
    overwrite(cache, 1, data.utterances[0], -NUMBERS, np.float32(np.nan).tobytes())
    assert verify(cache, quick=True) == (36, [])
    assert "not finite" in verify(cache)[1][0]
    overwrite(cache, 1, data.utterances[5], 0, b"\0BDM ")
    assert "holds no matrix" in verify(cache, quick=True)[1][0]


def test_damage_of_one_ark_is_one_line(data, cache):
    for utterance in cache.completed(3):
        overwrite(cache, 3, utterance, 0, b"\0BDM ")
    problems = verify(cache)[1]
    assert len(problems) == 2 == len({ark for ark, _ in cache.completed(3).values()})
    assert sum(int(re.search(r": (\d+) matrices", problem)[1]) for problem in problems) == 12


def test_cut_ark_and_lost_ark(tmp_path, data, cache):
    first, second = sorted(cache.layer_folder(1).glob("*.ark"))
    first.write_bytes(first.read_bytes()[:-500])
    second.unlink()
    lost, damaged = verify(cache)[1]
    assert re.search(
        r"feats\.scp: the arks of 4 utterances are gone or were cut: .*; run stage 2 again", lost
    )
    assert "ends before the entry does" in damaged and damaged.startswith(str(first))
    follow_the_remedy(damaged)
    fill(tmp_path / "dump", data, Ramp(1, 2, 3))
    assert verify(cache) == (36, [])


def test_layer_that_differs_from_most_is_named(tmp_path, data, cache):
    fill(tmp_path / "dump", data, Ramp(4, shift=90))
    count, problems = verify(cache)
    (problem,) = problems
    assert count == 48 and "layer_04: 12 matrices differ in shape from other layers" in problem
    assert "(first: (88, 4), elsewhere (80, 4))" in problem
    follow_the_remedy(problem)
    fill(tmp_path / "dump", data, Ramp(4))
    assert verify(cache) == (48, [])


def test_without_a_majority_every_layer_is_suspect(tmp_path, data):
    fill(tmp_path / "dump", data, Ramp(1))
    cache = fill(tmp_path / "dump", data, Ramp(2, shift=90))
    problems = verify(cache)[1]
    assert ["layer_01: 12" in problems[0], "layer_02: 12" in problems[1], len(problems)] == [True, True, 2]


def test_unfinished_layers_are_not_wrong(data, cache):
    with FeatureWriter(cache) as writer:
        writer.write_batch({data.utterances[0]: {7: [encode_matrix(np.zeros((80, 4), np.float32))]}})
    assert verify(cache) == (37, [])


def test_utterances_of_unknown_audio_are_named(tmp_path, data, cache):
    known = read_table(cache.folder / "utt2md5")
    gone = data.utterances[4]
    write_table(cache.folder / "utt2md5", {u: md5 for u, md5 in known.items() if u != gone})
    problems = verify(cache)[1]
    assert len(problems) == 3
    assert f"utt2md5: lacks 1 utterances that layer 1 has: {gone}; " in problems[0]
    fill(tmp_path / "dump", data, Ramp(1, 2, 3))
    assert verify(cache) == (36, [])


def test_moved_cache_is_told_from_a_sound_one(tmp_path, data, cache):
    (tmp_path / "dump").rename(tmp_path / "moved")
    moved = type(cache)(tmp_path / "moved", cache.root.name, "train")
    problems = verify(moved)[1]
    assert len(problems) == 3 and "leads to arks that are not of this cache" in problems[0]
    fill(tmp_path / "moved", data, Ramp(1, 2, 3))
    assert verify(moved) == (36, [])


def test_dump_folder_behind_a_link_is_sound(tmp_path, data, cache):
    (tmp_path / "link").symlink_to(tmp_path / "dump")
    linked = type(cache)(tmp_path / "link", cache.root.name, "train")
    assert verify(linked) == (36, [])
    fill(tmp_path / "link", data, Ramp(1, 2, 3))  # now the index leads through the link
    assert verify(linked) == verify(cache) == (36, [])
