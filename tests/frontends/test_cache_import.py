"""Imported features: what training reads are the numbers of the foreign arks; a fault leaves no trace."""

import os

import kaldiio
import numpy as np
import pytest
from tiny_cache import Ramp, fill, source_of
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.bin.main import main
from asvtk.frontends.cache.check import verify
from asvtk.frontends.cache.extraction import extract_missing
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.cache.foreign import Imported, import_features
from asvtk.frontends.cache.store import description
from asvtk.io.errors import AsvtkError

FRONTEND = Ramp(0, 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare_split(write_tiny_corpus(folder), "train", folder / "data" / "train")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def compute(data, utterance, layer=3):
    source = source_of("dump", data, FRONTEND)
    return Extractor(FRONTEND)([FRONTEND.prepare(source.read(utterance, None))], (layer,))[0][layer]


@pytest.fixture(scope="module")
def features(data):
    return {utterance: compute(data, utterance).astype(np.float64) for utterance in data.utterances}


def run(data, *sources, frontend=FRONTEND, layer=3, **options):
    source = source_of("dump", data, frontend)
    return import_features(
        sources,
        source.cache,
        layer,
        data,
        description(frontend),
        frontend.storage,
        lambda utterance: frontend.shape(data.num_samples[utterance]),
        lambda utterance: compute(data, utterance),
        **options,
    )


def files():
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk("dump") for name in names)


def refused(data, *sources, **options):
    before = files(), os.path.exists("dump")
    with pytest.raises(AsvtkError) as error:
        run(data, *sources, **options)
    assert (files(), os.path.exists("dump")) == before
    return str(error.value)


@pytest.mark.parametrize("storage", ["FM", "CM2"])
def test_double_matrices_of_several_files_become_a_layer(data, features, storage):
    halves = [dict(list(features.items())[part::2]) for part in (0, 1)]
    kaldiio.save_ark("a.ark", halves[0], scp="a.scp")
    kaldiio.save_ark("b.txt", halves[1] | {"other": np.zeros((3, 4))}, text=True)
    frontend = Ramp(0, 3, storage=storage)
    count = len(features)
    assert run(data, "a.scp", "ark:b.txt", frontend=frontend) == Imported(count, 0, 1, 0)
    cache = source_of("dump", data, frontend).cache
    opened = cache.open(data, [3])
    for utterance, matrix in features.items():
        np.testing.assert_allclose(opened[utterance][0], matrix, atol=0 if storage == "FM" else 1e-3)
    assert verify(cache) == (count, [])
    assert [name for name in files() if ".tmp" in name] == []
    assert kaldiio.load_scp(str(cache.layer_folder(3) / "part.0001.scp")).keys() == features.keys()
    again = files()
    assert run(data, "a.scp", frontend=frontend) == Imported(0, len(halves[0]), 0, 0) and files() == again


def test_stage_2_computes_what_was_not_imported(data, features):
    some = dict(list(features.items())[:5])
    kaldiio.save_ark("a.ark", some)
    assert run(data, "a.ark") == Imported(5, 0, 0, len(features) - 5)
    source = source_of("dump", data, FRONTEND)
    assert not (source.cache.layer_folder(3) / "feats.scp").exists()
    assert extract_missing(source, Extractor(FRONTEND), 1, 1) == (len(features), {})  # layer 0 of all
    source.cache.join(data, (0, 3))
    assert verify(source.cache) == (2 * len(features), [])


def test_beside_what_stage_2_computed(data, features):
    fill("dump", data, Ramp(0))
    kaldiio.save_ark("a.ark", features)
    assert run(data, "a.ark").missing == 0
    assert verify(source_of("dump", data, FRONTEND).cache) == (2 * len(features), [])


def test_faults_leave_no_trace(data, features):
    first, last = min(features), max(features)

    def write(name="a", **changes):
        kaldiio.save_ark(f"{name}.ark", features | changes, scp=f"{name}.scp")

    def listed(utterance):
        return f"a.scp:{list(features).index(utterance) + 1}: {utterance}: "

    write(**{last: np.full_like(features[last], np.nan)})
    assert f"a.ark: {last}: holds nan or inf" in refused(data, "a.ark")
    write(**{last: features[last] * 1e39})
    assert "beyond float32" in refused(data, "a.ark")
    write(**{last: features[last][1:]})
    rows = len(features[last])
    said = refused(data, "a.scp")
    assert (
        said.startswith(listed(last)) and f"has {rows - 1} frames of 4 numbers; expected {rows} of 4" in said
    )
    write(**{first: features[first] * 1.5})
    said = refused(data, "a.ark")
    assert f"a.ark: {first}: differs from what the configuration's front-end gives by " in said
    assert "name the front-end, weights and --layer" in said
    assert run(data, "a.ark", checks=0).missing == 0  # who knows better


def test_faults_of_the_sources_leave_no_trace(data, features):
    kaldiio.save_ark("a.ark", features, scp="a.scp")
    first, second = list(features)[:2]
    assert f"a.ark: {first} stands in a.scp:1 too" in refused(data, "a.scp", "a.ark")
    with open("a.ark", "rb+") as stream:
        stream.truncate(os.path.getsize("a.ark") - 1)
    assert f": {max(features)}: a.ark at byte " in refused(data, "a.scp")
    kaldiio.save_ark("b.ark", {"other": np.zeros((3, 4))})
    said = refused(data, "b.ark")
    assert "b.ark: no features of " in said and f": other there, {first}, {second} and 10 more here;" in said
    open("c.ark", "w").close()
    assert "they are empty" in refused(data, "c.ark")


def test_stale_scp_is_noticed_and_renamed_keys_are_not_held_against_it(data, features):
    equal = {key: np.zeros((9, 4)) for key in features}
    kaldiio.save_ark("a.ark", equal, scp="a.scp")
    with open("stale.scp", "w") as stream:
        places = [line.split() for line in open("a.scp")]
        stream.writelines(
            f"{key} {place}\n" for (key, _), (_, place) in zip(places, places[1:] + places[:1], strict=True)
        )
    frontend = Ramp(3)
    frontend.shape = lambda samples: (9, 4)
    said = refused(data, "stale.scp", frontend=frontend, checks=0)
    assert said.startswith(f"stale.scp:1: {places[0][0]}: is the matrix of {places[1][0]} in a.ark")

    kaldiio.save_ark("b.ark", {f"speaker-{key}": matrix for key, matrix in features.items()}, scp="b.scp")
    lines = open("b.scp").read().replace("speaker-", "")
    open("b.scp", "w").write(lines)
    assert run(data, "b.scp").missing == 0


def test_other_audio_and_a_full_disk(data, features, monkeypatch):
    kaldiio.save_ark("a.ark", features)
    cache = fill("dump", data, Ramp(0))
    other = (cache.folder / "utt2md5").read_text().replace(data.md5[min(features)], "0" * 32)
    (cache.folder / "utt2md5").write_text(other)
    assert "holds features of other audio" in refused(data, "a.ark")

    def full(*_):
        raise AsvtkError("needs 1 GB, 0 bytes are free")

    monkeypatch.setattr("asvtk.frontends.cache.foreign.require_space", full)
    (cache.folder / "utt2md5").unlink()
    assert "are free" in refused(data, "a.ark")


# ---- the verb


@pytest.fixture
def words(data):
    with open("c.yaml", "w") as stream:
        stream.write("frontend: {name: lfcc}\n")
    return ["cache", "import", "--config", "c.yaml", "--data", str(data.path)]


def test_verb_imports_what_another_dump_holds(data, words, capsys):
    extract = ["extract", "job", "--config", "c.yaml", "--data", str(data.path), "--dump", "elsewhere"]
    assert main(["extract", "begin", *extract[2:]]) == 0 and main(extract) == 0
    (scp,) = [os.path.join(folder, "part.0001.scp") for folder, _, names in os.walk("elsewhere") if names][
        -1:
    ]
    capsys.readouterr()
    assert main([*words, scp]) == 0
    said = capsys.readouterr().out
    assert f"layer_00: features of {len(data.utterances)} utterances imported\n" in said
    assert main([*words, "--override", "frontend.filters=24", "--dump", "other", scp]) == 1
    assert "differs from what the configuration's front-end gives" in capsys.readouterr().err
    assert not os.path.exists("other")


@pytest.mark.parametrize(
    "changes, status, message",
    [
        (["--layer", "7", "a.ark"], 2, "--layer 7: expected one of the configuration's layers, 0"),
        (["--layer", "x", "a.ark"], 2, "expected a whole number"),
        ([], 2, "FILE"),
        (["--override", "frontend.name=waveform", "--", "a.ark"], 1, "caches no features"),
        (["a.ark"], 1, "error: a.ark cannot be read: No such file"),
        (["gunzip -c a.gz |"], 1, "is a command, which is never run"),
    ],
)
def test_misuse_of_the_verb(words, changes, status, message, capsys):
    try:
        ended = main([*words, *changes])
    except SystemExit as error:
        ended = error.code
    said = capsys.readouterr().err
    assert ended == status and message in said and said.count("\n") == 1
    assert not os.path.exists("dump")
