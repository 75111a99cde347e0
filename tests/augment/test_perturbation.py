"""Copies of a set without level, silence or bandwidth, and the table of what they do to a result."""

import dataclasses
import shutil

import numpy as np
import pytest
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.augment.perturbation import PERTURBATIONS, level, lowpass, trim
from asvtk.bin import perturb
from asvtk.bin.main import main
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.vocoding.config import VocodedConfig
from asvtk.vocoding.copy_synthesis import vocode_set

RNG = np.random.default_rng(0)


def rms_db(samples):
    return 10 * np.log10(np.mean(np.square(samples)))


def test_level():
    for gain in (0.001, 0.2):
        assert rms_db(level(gain * RNG.normal(size=8000))) == pytest.approx(-30)
    click = np.zeros(16000)
    click[7] = 0.1
    assert np.abs(level(click)).max() == 1  # no louder than fits
    assert not level(np.zeros(9)).any()


def test_trim():
    speech, quiet = RNG.normal(size=3200), 1e-4 * RNG.normal(size=3200)
    pause = np.concatenate([quiet, speech, quiet, speech, quiet[:1000]])
    assert np.array_equal(trim(pause), pause[3200:12800])
    assert len(trim(speech[:3001])) == 3001 and len(trim(np.zeros(500))) == 500


def test_lowpass():
    time = np.arange(16000) / 16000
    kept, lost = np.sin(2 * np.pi * 6800 * time), np.sin(2 * np.pi * 7300 * time)
    made = lowpass(0.4 * kept + 0.4 * lost)
    np.testing.assert_allclose(made[500:-500], 0.4 * kept[500:-500], atol=1e-3)


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare_split(write_tiny_corpus(folder), "dev", folder / "data" / "dev")


def test_copies_keep_ids_labels_and_the_knowledge_of_what_they_are(dev, capsys):
    assert main(["perturb", "--data", str(dev.path), "--how", "trim", "level", "--nj", "2"]) == 0
    made = DataDirectory.read(dev.path.with_name("dev_trim_level"))
    assert not find_problems(made.path)
    assert made.label == dev.label and made.attack == dev.attack
    assert not set(made.md5.values()) & set(dev.md5.values())
    expected = level(trim(read_audio(dev.wav[dev.utterances[0]])))
    np.testing.assert_allclose(read_audio(made.wav[made.utterances[0]]), expected, atol=2**-15)
    innocent = made.path.with_name("innocent")
    shutil.copytree(made.path, innocent)
    with pytest.raises(AsvtkError, match="is a dev set"):
        vocode_set(DataDirectory.read(innocent), VocodedConfig(), dev.path.with_name("out"))


def test_a_copy_lacks_nothing_or_is_a_fault(dev, tmp_path, capsys):
    wav = dev.wav | {dev.utterances[2]: str(tmp_path / "gone.flac")}
    broken = dataclasses.replace(dev, path=tmp_path / "dev", wav=wav)
    broken.write()
    command = ["perturb", "--data", str(broken.path), "--how", "level", "--nj", "1"]
    assert main(command) == 1 and "gone.flac" in capsys.readouterr().err
    dev_again = dataclasses.replace(broken, wav=dev.wav)
    dev_again.write()
    assert main(command) == 0
    assert DataDirectory.read(tmp_path / "dev_level").label == dev.label


def test_table_of_several_seeds(tmp_path, capsys):
    utterances = [f"u{number}" for number in range(8)]
    attacks, keys = ["-"] * 4 + ["A01"] * 4, ["bonafide"] * 4 + ["spoof"] * 4
    good, worse = [4, 3, 2, 1, -1, -2, -3, -4], [4, 3, 2, -2.5, -1, -2, -3, 5]
    for seed in (1, 2):
        for name, scores in [("scores/dev", good), ("scores/eval", good), ("robustness/eval_trim", worse)]:
            path = tmp_path / f"s{seed}" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_scores(path, utterances, attacks, keys, np.array(scores, float))
        (tmp_path / f"s{seed}" / "config.yaml").write_text(f"seed: {seed}\n")
        (tmp_path / f"s{seed}" / "inputs.json").write_text("{}")
    command = ["robustness", "--exp", f"{tmp_path}/s1", f"{tmp_path}/s2", "--set", "eval", "--copies"]
    assert main([*command, "eval_trim", "--out", f"{tmp_path}/t.md"]) == 0
    rows = [line.replace(" ", "") for line in capsys.readouterr().out.splitlines()]
    assert rows[2] == "|eval|0.00±0.00|–|0.00±0.00|0.00±0.00|"
    assert rows[3] == "|eval_trim|25.00±0.00|+25.00|25.00±0.00|25.00±0.00|"
    assert "eval_trim" in (tmp_path / "t.md").read_text()
    assert main([*command, "eval_level"]) == 1
    assert "local/robustness.sh first" in capsys.readouterr().err


def test_the_verb_offers_what_there_is():
    assert tuple(PERTURBATIONS) == perturb.CHANGES
