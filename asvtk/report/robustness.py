"""Robustness tables: error rates on copies of a set that lack a shortcut."""

from pathlib import Path
from statistics import mean

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.io.protocols import label
from asvtk.io.scores import ScoreTable, read_scores
from asvtk.metrics.eer import compute_eer, det_curve
from asvtk.metrics.operating_point import errors_at, operating_point
from asvtk.report.markdown import plain_text, table
from asvtk.report.seeds import seed_groups
from asvtk.report.values import mean_sd

__all__ = ["robustness_table"]

_HEADER = ("Set", "EER %", "change", "bona fide rejected %", "spoofs accepted %")


def robustness_table(folders: list, original: str, copies: list[str]) -> str:
    """EER of a set and its copies, and the error rates at the threshold of dev's EER.

    Args:
        folders: of experiments. Those that differ in their seed alone share a table of means ± standard
            deviations; others have one of their own, and a sentence says why.
        original: name of the set; its scores stand in ``scores/``.
        copies: names of its copies; their scores stand in ``robustness/``.

    Returns:
        Markdown tables.

    Raises:
        AsvtkError: scores are missing, hold one class only, or are not of the same trials.
    """
    measured = {str(folder): _measure(Path(folder), original, copies) for folder in folders}
    seeds = seed_groups({name: name for name in measured})
    tables = [
        (names, _table([measured[name] for name in names], original, copies)) for names in seeds.together()
    ]
    if len(tables) == 1:
        return tables[0][1]
    parts = [part for names, content in tables for part in (f"## {plain_text(', '.join(names))}", content)]
    return "\n\n".join([*parts, *map(plain_text, seeds.reasons)])


def _table(measured: list[dict], original: str, copies: list[str]) -> str:
    rows = []
    for name in (original, *copies):
        eers = [system[name][0] for system in measured]
        changes = [system[name][0] - system[original][0] for system in measured]
        change = "–" if name == original else f"{mean(changes):+.2f}"
        rates = [mean_sd([system[name][place] for system in measured]) for place in (1, 2)]
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
    rates_by_set = {}
    for name, scores in tables.items():
        at = errors_at(*_classes(scores), threshold)
        rates = compute_eer(*_classes(scores))[0], at["frr"], at["far"]
        rates_by_set[name] = tuple(100 * rate for rate in rates)
    return rates_by_set


def _read(path: Path) -> ScoreTable:
    if not path.exists():
        raise AsvtkError(f"{path}: no such scores; run stage 4 and local/robustness.sh first")
    return read_scores(path)


def _classes(scores: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    if scores.bonafide is None:
        raise AsvtkError(f"{scores.source}: holds no keys; run stage 4 again")
    return scores.scores[scores.bonafide], scores.scores[~scores.bonafide]
