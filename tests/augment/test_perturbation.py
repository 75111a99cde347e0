"""Degraded copies of a set, one or a grid of them."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.augment.grid import DEFAULT, chain, read_grid
from asvtk.augment.perturbation import degrade
from asvtk.bin.main import main
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import read_stamp
from asvtk.vocoding.config import VocodedConfig
from asvtk.vocoding.copy_synthesis import vocode_set


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
    expected = degrade(read_audio(dev.wav[dev.utterances[0]]), chain(["trim", "level"]).how, "u")
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


def test_a_grid_is_made_once_and_a_killed_run_goes_on(dev, tmp_path, capsys):
    grid, out = tmp_path / "grid.yaml", tmp_path / "copies"
    grid.write_text("line: [[telephone, noise:20], alaw]\n")
    command = ["perturb", "--data", str(dev.path), "--grid", str(grid), "--out", str(out), "--nj", "2"]
    assert main(command) == 0 and "2 of 2 copies are whole" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["dev_alaw", "dev_telephone_noise-20"]
    made = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*.flac")}
    assert len(made) == 2 * len(dev.utterances)
    gone = next(iter(made))
    gone.unlink()
    (gone.parents[1] / ".done").unlink()  # as a killed run leaves it
    grid.write_text("line: [[telephone, noise:20], alaw, ulaw]\n")
    assert main(command) == 0 and "3 of 3" in capsys.readouterr().out
    for path, (time, content) in made.items():
        assert path.read_bytes() == content and (path == gone or path.stat().st_mtime_ns == time)
    assert DataDirectory.read(out / "dev_ulaw").label == dev.label and not find_problems(out / "dev_ulaw")
    assert main([*command, "--seed", "2"]) == 1  # other noise: not in the same folder
    assert "holds something else" in capsys.readouterr().err


def test_a_bad_utterance_costs_a_grid_nothing_else(dev, tmp_path, capsys):
    wav = dev.wav | {dev.utterances[2]: str(tmp_path / "gone.flac")}
    broken = dataclasses.replace(dev, path=tmp_path / "dev", wav=wav)
    broken.write()
    (tmp_path / "g.yaml").write_text("a: [gsm, alaw]")
    command = ["perturb", "--data", str(broken.path), "--grid", str(tmp_path / "g.yaml"), "--nj", "1"]
    assert main(command) == 2 and "--out FOLDER" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "0 of 2 copies are whole" in said.out and said.err.count("gone.flac") == 2
    for name in ("dev_gsm", "dev_alaw"):
        assert len(DataDirectory.read(tmp_path / "out" / name).utterances) == len(dev.utterances) - 1


def test_copies_of_before_are_known(dev, tmp_path):
    """Their stamps, of level, trim and lowpass, are what they were; others tell the seed."""
    stamps = {}
    for how in (["level", "trim"], ["noise:10"]):
        out = tmp_path / how[0].replace(":", "-")
        assert main(["perturb", "--data", str(dev.path), "--how", *how, "--out", str(out)]) == 0
        stamps[how[0]] = read_stamp(out / ".done")["how"]
    assert stamps["level"] == {"changes": ["level", "trim"], "generation": 1}
    assert stamps["noise:10"] == {"changes": ["noise:10"], "generation": 1, "seed": 1}


def test_an_unknown_name_is_a_usage_error(dev, capsys):
    assert main(["perturb", "--data", str(dev.path), "--how", "level", "mp3:1k"]) == 2
    assert "--how: degradation 'mp3:1k': expected mp3:RATE (8k, " in capsys.readouterr().err


def test_the_grid_of_the_recipe_is_the_default():
    recipe = Path(__file__).parents[2] / "egs" / "asvspoof2019_la" / "conf" / "robustness.yaml"
    assert read_grid(recipe) == read_grid(DEFAULT)
