"""Training spoofs from bona fide speech: what is made, that it is the same every time, and of what never."""

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.bin.main import main
from asvtk.io.audio import inspect_audio, read_audio, write_audio
from asvtk.io.config import build
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.errors import AsvtkError
from asvtk.io.tables import read_table
from asvtk.vocoding.config import VocodedConfig
from asvtk.vocoding.copy_synthesis import vocode_set
from asvtk.vocoding.vocoders import VOCODERS

METHODS = ("world_conversion", "random_phase")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    la = write_tiny_corpus(folder)
    return {split: prepare_split(la, split, folder / "data" / split) for split in ("train", "dev")}


@pytest.fixture(scope="module")
def made(corpus):
    config = VocodedConfig(METHODS, copies=2)
    return vocode_set(corpus["train"], config, corpus["train"].path.with_name("made"), jobs=2)


def test_each_bona_fide_utterance_gets_a_spoof_by_each_method_and_copy(corpus, made):
    data, faults = made
    bonafide = [u for u in corpus["train"].utterances if corpus["train"].label[u] == "bonafide"]
    assert not faults and not find_problems(data.path)
    assert data.count_classes() == (0, 4 * len(bonafide))
    assert {f"{bonafide[0]}-random_phase", f"{bonafide[0]}-random_phase-2"} < set(data.utterances)
    assert set(data.attack.values()) == {f"vocoded-{method}" for method in METHODS}
    assert data.source == {u: u.split("-")[0] for u in data.utterances}
    assert set(data.source.values()) == set(bonafide) and not corpus["train"].source
    assert DataDirectory.read(data.path) == data
    assert read_table(data.path / "attack2kind")["vocoded-world_conversion"] == "VC"
    first = data.utterances[0]
    line = (data.path / "protocol.txt").read_text().splitlines()[0]
    assert line == f"{data.speaker[first]} {first} - {data.attack[first]} spoof"


def test_a_clip_is_as_long_and_loud_as_its_source_and_of_16_bit(corpus, made):
    for utterance in made[0].utterances:
        source = utterance.split("-")[0]
        samples, original = read_audio(made[0].wav[utterance]), read_audio(corpus["train"].wav[source])
        assert len(samples) == len(original) and np.abs(samples).max() < 1
        assert np.std(samples) == pytest.approx(np.std(original), rel=0.01)
        assert not np.array_equal(samples, original)
        assert soundfile.info(made[0].wav[utterance]).subtype == "PCM_16"


def test_peaks_that_had_to_be_cut_make_no_spoof(corpus, tmp_path):
    utterance = next(u for u, label in corpus["train"].label.items() if label == "bonafide")
    time = np.arange(8000) / 16000
    loud = np.sin(2 * np.pi * 150 * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2
    write_audio(tmp_path / "loud.flac", loud / np.abs(loud).max())
    source = dataclasses.replace(
        corpus["train"].subset([utterance]),
        wav={utterance: str(tmp_path / "loud.flac")},
        num_samples={utterance: 8000},
        md5={utterance: inspect_audio(tmp_path / "loud.flac").md5},
    )
    data, faults = vocode_set(source, VocodedConfig(), tmp_path / "made", jobs=1)
    assert len(data.utterances) + len(faults) == len(VOCODERS) and data.utterances and faults
    assert all("peaks had to be cut off" in fault for fault in faults.values())
    for path in data.wav.values():
        assert np.sum(np.abs(read_audio(path)) >= 0.9995) <= 4
    assert vocode_set(source, VocodedConfig(), data.path, jobs=1)[1] == faults  # and is done
    assert (data.path / ".done").exists()


def test_the_same_bytes_whatever_the_number_of_processes_and_after_a_kill(corpus, made, tmp_path):
    data = made[0]
    again = tmp_path / "again"
    shutil.copytree(data.path, again)  # as if killed: half of the clips, nothing beside them
    for path in [*sorted((again / "flac").iterdir())[::2], *again.glob("[!.]*"), again / ".done"]:
        if path.is_file():
            path.unlink()
    kept = next((again / "flac").iterdir())
    before = kept.stat().st_mtime_ns
    repeated, _ = vocode_set(corpus["train"], VocodedConfig(METHODS, copies=2), again, jobs=1)
    assert repeated.digest() == data.digest() and kept.stat().st_mtime_ns == before
    few, _ = vocode_set(corpus["train"], VocodedConfig(METHODS[:1], seed=2), tmp_path / "few", jobs=1)
    assert not set(few.md5.values()) & set(data.md5.values())


def test_what_cannot_be_vocoded_is_named_and_the_rest_is_made(corpus, tmp_path):
    silent, missing = [u for u, label in corpus["train"].label.items() if label == "bonafide"][:2]
    soundfile.write(tmp_path / "silence.flac", np.zeros(corpus["train"].num_samples[silent]), 16000)
    wav = corpus["train"].wav | {silent: str(tmp_path / "silence.flac"), missing: str(tmp_path / "none.flac")}
    md5 = corpus["train"].md5 | {silent: inspect_audio(tmp_path / "silence.flac").md5}
    source = dataclasses.replace(corpus["train"], wav=wav, md5=md5)
    data, faults = vocode_set(source, VocodedConfig(("zero_phase",)), tmp_path / "made", jobs=1)
    assert len(data.utterances) == 4 and len(faults) == 2
    assert "is silent" in faults[f"{silent}-zero_phase"]
    assert "no such file" in read_table(data.path / "failed")[f"{missing}-zero_phase"]
    # Once restored, the same call makes what was missing.
    shutil.copy(corpus["train"].wav[missing], tmp_path / "none.flac")
    whole, faults = vocode_set(source, VocodedConfig(("zero_phase",)), data.path, jobs=1)
    assert len(whole.utterances) == 5 and list(faults) == [f"{silent}-zero_phase"]


@pytest.mark.parametrize("name", ["dev", "eval", "la_eval-2"])
def test_sets_that_are_judged_on_are_refused_by_name_or_stamp(corpus, tmp_path, name):
    named = dataclasses.replace(corpus["train"], path=tmp_path / name)
    stamped = tmp_path / "innocent"
    shutil.copytree(corpus["dev"].path, stamped)
    for data in (named, DataDirectory.read(stamped)):
        with pytest.raises(AsvtkError, match="is a (dev|eval) set"):
            vocode_set(data, VocodedConfig(METHODS), tmp_path / "out")


def test_another_folder_is_not_overwritten(corpus, made):
    config = VocodedConfig(METHODS[:1])
    with pytest.raises(AsvtkError, match="holds something else"):
        vocode_set(corpus["train"], config, corpus["dev"].path, force=True)
    with pytest.raises(AsvtkError, match="or give --force"):
        vocode_set(corpus["train"], config, made[0].path)


def test_the_section():
    assert VocodedConfig().names == tuple(VOCODERS)
    assert build(VocodedConfig, {"methods": "all"}, "c").set_name("train") == VocodedConfig(
        share=0.5
    ).set_name("train")
    assert VocodedConfig(seed=2).set_name("train") != VocodedConfig().set_name("train")
    for wrong, message in [
        ({"methods": ["wrold"]}, "wrold"),
        ({"methods": []}, "none"),
        ({"methods": ["world", "world"]}, "twice"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"copies": 0}, "at least 1"),
    ]:
        with pytest.raises(AsvtkError, match=message):
            build(VocodedConfig, wrong, "c.yaml: vocoded")


def test_the_verb(corpus, tmp_path, capsys):
    parts = "frontend: {name: lfcc}\nmodel: {name: moe_mamba}\nloss: {name: wce}\n"
    (tmp_path / "c.yaml").write_text(f"{parts}vocoded: {{methods: [zero_phase]}}\n")
    (tmp_path / "none.yaml").write_text(parts)
    data = tmp_path / "train"
    shutil.copytree(corpus["train"].path, data)

    def vocode(action, config):
        return main(["vocode", action, "--config", str(tmp_path / config), "--data", str(data), "--nj", "1"])

    assert vocode("name", "none.yaml") == 0 and capsys.readouterr().out == ""
    assert vocode("make", "none.yaml") == 1 and "vocoded" in capsys.readouterr().err
    (tmp_path / "old.yaml").write_text("resynthesis: {methods: [zero_phase]}\n")
    assert vocode("name", "old.yaml") == 1 and "is called vocoded now" in capsys.readouterr().err
    assert vocode("name", "c.yaml") == 0
    out = tmp_path / capsys.readouterr().out.strip()
    assert vocode("make", "c.yaml") == 0 and "6 spoofs by 1 methods" in capsys.readouterr().out
    assert len(DataDirectory.read(out).utterances) == 6
