"""Shortcut tables: how well length, level, silence or bandwidth alone tell a data set's classes apart."""

from pathlib import Path

import numpy as np

from asvtk.corpora.shortcuts import BAND_LIMITED_DB, SHORTCUTS, measure_shortcuts
from asvtk.io.audio import read_audio
from asvtk.io.datadir import BONAFIDE, SPOOF, DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.processes import in_processes
from asvtk.io.scores import read_scores
from asvtk.metrics.eer import compute_eer
from asvtk.report.markdown import plain_text, table
from asvtk.report.seeds import seed_groups
from asvtk.report.values import mean_sd

__all__ = ["area", "score_tables", "shortcut_table"]


def shortcut_table(folders: list, jobs: int = 4) -> str:
    """A Markdown table: each shortcut's medians in the first set, and its area under the ROC curve in all.

    Areas are those of a detector which is nothing but the shortcut. Which side is bona fide is chosen on the
    first set, as training would: below 50 % the shortcut misleads where it was learnt there.

    Args:
        folders: data directories, the training set first.
        jobs: processes.

    Raises:
        AsvtkError: audio that cannot be read, or a set of one class.
    """
    measured = [_measure(DataDirectory.read(folder), jobs) for folder in folders]
    rows = []
    for shortcut, unit in SHORTCUTS.items():
        medians = [f"{np.median(measured[0][label][shortcut]):.3g} {unit}" for label in (BONAFIDE, SPOOF)]
        areas = [100 * area(values[BONAFIDE][shortcut], values[SPOOF][shortcut]) for values in measured]
        if areas[0] < 50:
            areas = [100 - percent for percent in areas]
        rows.append([shortcut, *medians, *(f"{percent:.1f}" for percent in areas)])
    names = [f"{Path(folder).name}, %" for folder in folders]
    return table(["Shortcut", "bona fide", "spoof", *names], rows)


def score_tables(folder, score_files: list, jobs: int = 4) -> str:
    """Two Markdown tables: how scores follow shortcuts, and the EER by the bandwidth of bona fide clips.

    The first has Spearman's rank correlation of the scores with each shortcut within each class, because a
    shortcut that goes with the label goes with any score that is of use. Where a score follows a shortcut
    among bona fide clips alone, they are accepted and rejected for it. The second has the EER of all spoofs
    against the bona fide clips of the full band, and against the others (``BAND_LIMITED_DB``).

    Args:
        folder: data directory.
        score_files: of its utterances. Those of experiments that differ in their seed alone (which lie in
            DIR/scores/) are given as means and standard deviations; others have columns of their own, and a
            sentence says why.
        jobs: processes.

    Raises:
        AsvtkError: files that cannot be read; an utterance of the set has no score; or a set of one class.
    """
    from scipy.stats import spearmanr  # takes a second to import

    data = DataDirectory.read(folder)
    measured = _measure(data, jobs)
    scores = {str(path): _scores_of(data, path) for path in score_files}
    seeds = seed_groups({path: _experiment_of(path) for path in scores})
    systems = [[scores[path] for path in paths] for paths in seeds.together()]
    # With one system there is no doubt whose numbers these are.
    names = [""] if len(systems) == 1 else [f" {', '.join(paths)}" for paths in seeds.together()]
    rows = []
    for shortcut in SHORTCUTS:
        cells = []
        for system in systems:
            for label in (BONAFIDE, SPOOF):
                pairs = [(measured[label][shortcut], of[label]) for of in system]
                # What never varies follows nothing.
                correlations = [
                    spearmanr(*pair).statistic if all(map(np.ptp, pair)) else None for pair in pairs
                ]
                cells.append(mean_sd(correlations, sign="+"))
        rows.append([shortcut, *cells])
    titles = [f"scores of {of}{name}" for name in names for of in ("bona fide", "spoofs")]
    bandwidth = _by_bandwidth(measured[BONAFIDE]["fall at 7.75 kHz"], systems, names)
    return "\n\n".join([table(["Shortcut", *titles], rows), bandwidth, *map(plain_text, seeds.reasons)])


def _by_bandwidth(falls: np.ndarray, systems: list[list[dict[str, np.ndarray]]], names: list[str]) -> str:
    """EER of all spoofs against the bona fide clips of each kind, by how much their power falls."""
    rows, limited = [], falls > BAND_LIMITED_DB
    for kind, chosen in (("full band", ~limited), ("band-limited", limited)):
        rates = [
            [
                100 * compute_eer(scores[BONAFIDE][chosen], scores[SPOOF])[0]
                for scores in system
                if chosen.any()
            ]
            for system in systems
        ]
        rows.append([kind, chosen.sum(), *(mean_sd(of_system or [None]) for of_system in rates)])
    return table(["Bona fide", "clips", *(f"EER % of all spoofs{name}" for name in names)], rows)


def _experiment_of(path: str) -> Path | None:
    """The experiment that a score file lies in, DIR of DIR/scores/NAME.txt; None where it lies elsewhere."""
    folder = Path(path).absolute().parent
    return folder.parent if folder.name in ("scores", "robustness") else None


def _scores_of(data: DataDirectory, path) -> dict[str, np.ndarray]:
    """label -> scores, (utterances of that label,), in the set's order."""
    table_of_file = read_scores(path)
    score = dict(zip(table_of_file.utterances.tolist(), table_of_file.scores.tolist(), strict=True))
    if missing := [utterance for utterance in data.utterances if utterance not in score]:
        raise AsvtkError(f"{path}: has no score of {listing(missing, 3)} of {data.path}; score that set")
    return {
        label: np.array([score[utterance] for utterance in data.utterances if data.label[utterance] == label])
        for label in (BONAFIDE, SPOOF)
    }


def area(bonafide: np.ndarray, spoof: np.ndarray) -> float:
    """Area under the ROC curve: how often a bona fide value lies above a spoof's; ties count half."""
    spoof = np.sort(spoof)
    below = np.searchsorted(spoof, bonafide, "left") + np.searchsorted(spoof, bonafide, "right")
    return float(below.mean() / 2 / len(spoof))


def _measure(data: DataDirectory, jobs: int) -> dict[str, dict[str, np.ndarray]]:
    """label -> shortcut -> values, (utterances of that label,)."""
    if not all(data.count_classes()):
        raise AsvtkError(f"{data.path}: has utterances of one class only; both are needed")
    items = [(data.wav[utterance], data.num_samples[utterance]) for utterance in data.utterances]
    measurements = list(in_processes(_measure_one, items, jobs, data.name))
    labels = np.array(list(data.label.values()))
    return {
        label: {
            name: np.array([values[name] for values in measurements])[labels == label] for name in SHORTCUTS
        }
        for label in (BONAFIDE, SPOOF)
    }


def _measure_one(item: tuple[str, int]) -> dict[str, float]:
    return measure_shortcuts(read_audio(*item))
