"""The table of cues: a corpus whose classes differ by one of them, and one that misleads."""

import numpy as np
import pytest
import soundfile
from tiny_corpus import write_tiny_corpus

from asvtk.bin.main import main
from asvtk.corpora.asvspoof2019_la import prepare_split
from asvtk.io.datadir import BONAFIDE
from asvtk.io.errors import AsvtkError
from asvtk.report.cues import area, cue_table


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
    row = next(line for line in cue_table(sets, jobs=1).splitlines() if "level" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[-2:] == ["100.0", "0.0"] and float(cells[1].split()[0]) > float(cells[2].split()[0]) + 10
    assert main(["cues", *sets, "--nj", "1", "--out", str(tmp_path / "CUES.md")]) == 0
    assert row in capsys.readouterr().out and row in (tmp_path / "CUES.md").read_text()


def test_a_set_of_one_class_is_refused(sets, tmp_path):
    data = prepare_split(tmp_path / "LA", "train", tmp_path / "data" / "train")
    some = data.subset([u for u in data.utterances if data.label[u] == BONAFIDE])
    type(data)(tmp_path / "one", *(getattr(some, n) for n in ("wav", "speaker", "label", "attack")),
               some.num_samples, some.md5).write()  # fmt: skip
    with pytest.raises(AsvtkError, match="one: has utterances of one class only"):
        cue_table([tmp_path / "one"], jobs=1)
