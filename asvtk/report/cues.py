"""How well a data set's classes are told apart by cues that say nothing of who speaks."""

from pathlib import Path

import numpy as np

from asvtk.corpora.cues import CUES, measure_cues
from asvtk.io.audio import read_audio
from asvtk.io.datadir import BONAFIDE, SPOOF, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.processes import in_processes
from asvtk.report.markdown import table

__all__ = ["area", "cue_table"]


def cue_table(folders: list, jobs: int = 4) -> str:
    """A Markdown table: each cue's medians in the first set, and its area under the ROC curve in all.

    Areas are those of a detector which is nothing but the cue. Which side is bona fide is chosen on the
    first set, as training would: below 50 % the cue misleads where it was learnt there.

    Args:
        folders: data directories, the training set first.
        jobs: processes.

    Raises:
        AsvtkError: audio that cannot be read, or a set of one class.
    """
    measured = [_measure(DataDirectory.read(folder), jobs) for folder in folders]
    rows = []
    for cue, unit in CUES.items():
        medians = [f"{np.median(measured[0][label][cue]):.3g} {unit}" for label in (BONAFIDE, SPOOF)]
        areas = [100 * area(values[BONAFIDE][cue], values[SPOOF][cue]) for values in measured]
        if areas[0] < 50:
            areas = [100 - found for found in areas]
        rows.append([cue, *medians, *(f"{found:.1f}" for found in areas)])
    names = [f"{Path(folder).name}, %" for folder in folders]
    return table(["Cue", "bona fide", "spoof", *names], rows)


def area(bonafide: np.ndarray, spoof: np.ndarray) -> float:
    """Area under the ROC curve: how often a bona fide value lies above a spoof's; ties count half."""
    spoof = np.sort(spoof)
    below = np.searchsorted(spoof, bonafide, "left") + np.searchsorted(spoof, bonafide, "right")
    return float(below.mean() / 2 / len(spoof))


def _measure(data: DataDirectory, jobs: int) -> dict[str, dict[str, np.ndarray]]:
    """label -> cue -> values, (utterances of that label,)."""
    if not all(data.count_classes()):
        raise AsvtkError(f"{data.path}: has utterances of one class only; both are needed")
    items = [(data.wav[utterance], data.num_samples[utterance]) for utterance in data.utterances]
    found = list(in_processes(_measure_one, items, jobs, data.name))
    labels = np.array(list(data.label.values()))
    return {
        label: {cue: np.array([values[cue] for values in found])[labels == label] for cue in CUES}
        for label in (BONAFIDE, SPOOF)
    }


def _measure_one(item: tuple[str, int]) -> dict[str, float]:
    return measure_cues(read_audio(*item))
