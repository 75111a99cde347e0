"""The table of shortcuts: a corpus whose classes differ by one of them, and one that misleads."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.augment.perturbation import lowpass
from asvtk.bin.main import main
from asvtk.corpora.shortcuts import measure_shortcuts
from asvtk.io.audio import read_audio
from asvtk.io.datadir import BONAFIDE
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.report.shortcuts import area, shortcut_table


def test_area_counts_ties_half():
    assert area(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    bonafide, spoof = np.random.default_rng(0).integers(0, 9, (2, 50))
    pairs = [(b > s) + (b == s) / 2 for b in bonafide for s in spoof]
    assert area(bonafide, spoof) == pytest.approx(np.mean(pairs))


@pytest.fixture
def sets(tmp_path):
    """In training spoofs are 20 dB softer, in dev louder."""
    la = write_tiny_corpus(tmp_path)
    for split, gain in (("train", 0.1), ("dev", 10)):
        data = prepare_split(la, split, tmp_path / "plain" / split)
        for utterance in data.utterances:
            samples, rate = soundfile.read(data.wav[utterance])
            samples *= 0.02 * (1 if data.label[utterance] == BONAFIDE else gain)
            soundfile.write(data.wav[utterance], samples, rate, subtype="PCM_16")
    return [str(prepare_split(la, split, tmp_path / "data" / split).path) for split in ("train", "dev")]


def test_table_and_command(sets, tmp_path, capsys):
    row = next(line for line in shortcut_table(sets, jobs=1).splitlines() if "level" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[-2:] == ["100.0", "0.0"] and float(cells[1].split()[0]) > float(cells[2].split()[0]) + 10
    assert main(["shortcuts", *sets, "--nj", "1", "--out", str(tmp_path / "SHORTCUTS.md")]) == 0
    assert row in capsys.readouterr().out and row in (tmp_path / "SHORTCUTS.md").read_text()


def test_a_set_of_one_class_is_refused(sets, tmp_path):
    data = prepare_split(tmp_path / "LA", "train", tmp_path / "data" / "train")
    some = data.subset([u for u in data.utterances if data.label[u] == BONAFIDE])
    replace(some, path=tmp_path / "one").write()
    with pytest.raises(AsvtkError, match="one: has utterances of one class only"):
        shortcut_table([tmp_path / "one"], jobs=1)


def test_scores_that_follow_a_cue_are_seen(sets, tmp_path, capsys):
    """Scores that are the level itself, and the same reversed."""
    data = prepare_split(tmp_path / "LA", "dev", tmp_path / "data" / "dev")
    level = {
        u: measure_shortcuts(soundfile.read(path, dtype="float32")[0])["level"]
        for u, path in data.wav.items()
    }
    for name, score in (("level", level), ("reverse", {u: -x for u, x in level.items()})):
        write_scores(
            tmp_path / name,
            *zip(*((u, data.attack[u], data.label[u], score[u]) for u in data.wav), strict=True),
        )

    def cells(*names):
        assert main(["shortcuts", sets[1], "--nj", "1", "--scores", *(str(tmp_path / n) for n in names)]) == 0
        row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| level"))
        return [cell.strip() for cell in row.strip("|").split("|")][1:]

    assert cells("level") == ["+1.00", "+1.00"]
    assert cells("reverse") == ["-1.00", "-1.00"]
    assert cells("level", "reverse") == ["+1.00", "+1.00", "-1.00", "-1.00"]  # of no experiment: two systems
    for seed, name in enumerate(("level", "reverse")):
        folder = tmp_path / f"exp{seed}" / "scores"
        folder.mkdir(parents=True)
        (tmp_path / name).rename(folder / "dev.txt")
        (folder.parent / "config.yaml").write_text(f"seed: {seed}\n")
    files = [f"exp{seed}/scores/dev.txt" for seed in (0, 1)]
    assert cells(*files) == ["+0.00 ± 1.41", "+0.00 ± 1.41"]
    (tmp_path / files[0]).rename(tmp_path / "level")
    assert main(["shortcuts", *sets, "--scores", str(tmp_path / "level")]) == 1
    assert "--scores are those of one data directory; 2 were named, name one" in capsys.readouterr().err
    assert main(["shortcuts", sets[0], "--nj", "1", "--scores", str(tmp_path / "level")]) == 1
    assert "has no score of LA_T_1000000, LA_T_1000037, LA_T_1000074" in capsys.readouterr().err


def test_eer_by_the_bandwidth_of_bona_fide_speech(tmp_path, capsys):
    """A system that hears the band and nothing else, of three bona fide clips of which one is low-passed."""
    la = write_tiny_corpus(tmp_path)
    limited = la / "ASVspoof2019_LA_dev/flac/LA_D_1000000.flac"
    soundfile.write(limited, lowpass(read_audio(limited), 7500), 16000, subtype="PCM_16")
    data = prepare_split(la, "dev", tmp_path / "data" / "dev")
    score = {u: float(data.label[u] == BONAFIDE and u != limited.stem) for u in data.wav}
    write_scores(
        tmp_path / "s", *zip(*((u, data.attack[u], data.label[u], score[u]) for u in data.wav), strict=True)
    )
    assert main(["shortcuts", str(data.path), "--nj", "1", "--scores", str(tmp_path / "s")]) == 0
    rows = [line.replace(" ", "") for line in capsys.readouterr().out.splitlines()]
    assert "|fullband|3|0.00|" in rows and "|band-limited|1|100.00|" in rows
