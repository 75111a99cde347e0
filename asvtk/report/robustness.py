"""Whether a result rests on cues: error rates on copies of a set that lack them."""

from pathlib import Path
from statistics import mean

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.io.protocols import label
from asvtk.io.scores import ScoreTable, read_scores
from asvtk.metrics.eer import compute_eer, det_curve
from asvtk.metrics.operating_point import operating_point
from asvtk.report.markdown import mean_sd, table

__all__ = ["robustness_table"]

_HEADER = ("Set", "EER %", "change", "bona fide rejected %", "spoofs accepted %")


def robustness_table(folders: list, original: str, copies: list[str]) -> str:
    """EER of a set and its copies, and the error rates at the threshold of dev's EER.

    Args:
        folders: of experiments that differ in their seeds; the table has means ± standard deviations.
        original: name of the set; its scores stand in ``scores/``.
        copies: names of its copies; their scores stand in ``robustness/``.

    Returns:
        a Markdown table.

    Raises:
        AsvtkError: scores are missing, or are not of the same trials.
    """
    measured = [_measure(Path(folder), original, copies) for folder in folders]
    rows = []
    for name in (original, *copies):
        eers = [of[name][0] for of in measured]
        changes = [of[name][0] - of[original][0] for of in measured]
        change = "–" if name == original else f"{mean(changes):+.2f}"
        rates = [mean_sd([of[name][place] for of in measured]) for place in (1, 2)]
        rows.append([name, mean_sd(eers), change, *rates])
    return table(_HEADER, rows)


def _measure(folder: Path, original: str, copies: list[str]) -> dict[str, tuple[float, float, float]]:
    """set -> EER, FRR and FAR at the threshold of dev, in percent."""
    dev = _read(folder / "scores" / "dev.txt")
    threshold = operating_point(det_curve(*_classes(dev)), "eer")["threshold"]
    first = _read(folder / "scores" / f"{original}.txt")
    tables = {original: first}
    for name in copies:
        tables[name] = label(_read(folder / "robustness" / f"{name}.txt"), first)
    found = {}
    for name, scores in tables.items():
        bonafide, spoof = _classes(scores)
        rates = compute_eer(bonafide, spoof)[0], np.mean(bonafide <= threshold), np.mean(spoof > threshold)
        found[name] = tuple(float(100 * rate) for rate in rates)
    return found


def _read(path: Path) -> ScoreTable:
    if not path.exists():
        raise AsvtkError(f"{path}: no such scores; run stage 4 and local/robustness.sh first")
    return read_scores(path)


def _classes(scores: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    return scores.scores[scores.bonafide], scores.scores[~scores.bonafide]
