"""A corpus in the official layout that is made in a moment: tones for bona fide, noise for spoof."""

from pathlib import Path

import numpy as np
import soundfile

from asvtk.corpora.corpus import open_corpus
from asvtk.corpora.preparation import prepare_set
from asvtk.io.datadir import DataDirectory

SPLITS = {"train": ("T", "train.trn", 12), "dev": ("D", "dev.trl", 8), "eval": ("E", "eval.trl", 10)}


def write_tiny_corpus(folder, samples: int = 8000, seed: int = 0, times: int = 1) -> Path:
    """Write LA/ under ``folder``, ``times`` 30 utterances; half are bona fide, lengths differ a little."""
    la, rng = Path(folder) / "LA", np.random.default_rng(seed)
    protocols = la / "ASVspoof2019_LA_cm_protocols"
    protocols.mkdir(parents=True)
    for split, (letter, protocol, count) in SPLITS.items():
        flac = la / f"ASVspoof2019_LA_{split}" / "flac"
        flac.mkdir(parents=True)
        lines = []
        for number in range(times * count):
            utterance = f"LA_{letter}_{1000000 + 37 * number}"
            time = np.arange(samples + 100 * (number % count)) / 16000
            if number % 2:
                attack = f"A{1 + number // 2 % 6 + (6 if split == 'eval' else 0):02d}"
                audio = rng.normal(size=len(time)) * 0.1
                lines.append(f"LA_00{number:02d} {utterance} - {attack} spoof")
            else:
                audio = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 300) * time) + 0.01 * rng.normal(
                    size=len(time)
                )
                lines.append(f"LA_00{number:02d} {utterance} - - bonafide")
            soundfile.write(flac / f"{utterance}.flac", audio, 16000, subtype="PCM_16")
        (protocols / f"ASVspoof2019.LA.cm.{protocol}.txt").write_text("\n".join(lines) + "\n")
    return la


def prepare_split(la, split: str, out, **options) -> DataDirectory:
    """Stage 1 for one set of a corpus in the layout of ASVspoof 2019 LA."""
    return prepare_set(open_corpus("asvspoof2019_la", la), split, out, **options)
