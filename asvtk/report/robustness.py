"""Robustness tables: error rates of a system on degraded copies of a set, by family of degradations."""

from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np

from asvtk.augment.grid import Cell
from asvtk.io.errors import AsvtkError
from asvtk.io.protocols import label
from asvtk.io.scores import ScoreTable, read_scores
from asvtk.metrics.eer import compute_eer, det_curve
from asvtk.metrics.operating_point import errors_at, operating_point
from asvtk.report.markdown import plain_text, table
from asvtk.report.seeds import seed_groups
from asvtk.report.values import mean_sd

__all__ = ["Copy", "Family", "Rates", "Robustness", "measure", "of_experiments", "summary_lines", "tables"]

_HEADER = ("Set", "EER %", "change", "bona fide rejected %", "spoofs accepted %")
_SUMMARY = ("Family", "copies", "mean EER %", "change", "worst copy", "its EER %")


class Copy(NamedTuple):
    """A degraded copy of a set."""

    title: str  # for people: mp3:32k
    name: str  # of its score file, without .txt: eval_mp3-32k
    family: str = ""
    place: tuple[str, str, float] | None = None  # see asvtk.augment.grid.Cell.place

    @classmethod
    def of(cls, cell: Cell, original: str) -> "Copy":
        """The copy of the set ``original`` that a cell of a grid stands for."""
        return cls(cell.title, f"{original}_{cell.name}", cell.family, cell.place)


class Rates(NamedTuple):
    """Of one set by one run of a system, in percent."""

    eer: float
    frr: float | None  # bona fide rejected, at dev's threshold; None: there is none
    far: float | None  # spoofs accepted
    missing: int = 0  # trials of the original that have no score here


class Family(NamedTuple):
    """Copies of one family that have scores."""

    name: str
    copies: list[Copy]
    mean: Rates  # over copies and runs
    change: float  # of the EER, points
    worst: Copy


class Robustness(NamedTuple):
    """A system on a set and its copies.

    Attributes:
        names: of the runs, which differ in their seed alone.
        original: name of the set.
        copies: in the order of the grid.
        runs: for each run, copy's name -> its `Rates`, and the set's own; without copies that lack scores.
    """

    names: list[str]
    original: str
    copies: list[Copy]
    runs: list[dict[str, Rates]]

    def rates(self, name: str) -> list[Rates]:
        """Of a set or copy by each run; empty where one has no scores."""
        found = [run[name] for run in self.runs if name in run]
        return found if len(found) == len(self.runs) else []

    def eer(self, name: str) -> float | None:
        """Mean over runs, in percent."""
        found = self.rates(name)
        return mean(of.eer for of in found) if found else None

    def families(self) -> list[Family]:
        """Those that have a name and scores, in order."""
        names = dict.fromkeys(copy.family for copy in self.copies if copy.family)
        members = {
            name: [x for x in self.copies if x.family == name and self.rates(x.name)] for name in names
        }
        return [self._family(name, copies) for name, copies in members.items() if copies]

    def _family(self, name: str, copies: list[Copy]) -> Family:
        rates = [of for copy in copies for of in self.rates(copy.name)]
        rejected = None if rates[0].frr is None else mean(of.frr for of in rates)
        accepted = None if rates[0].far is None else mean(of.far for of in rates)
        together = Rates(mean(of.eer for of in rates), rejected, accepted)
        change = together.eer - self.eer(self.original)
        return Family(name, copies, together, change, max(copies, key=lambda copy: self.eer(copy.name)))

    def as_json(self) -> dict:
        """What the tables hold, every run by itself, for programs."""

        def rates(name):
            return [of._asdict() for of in self.rates(name)]

        return {
            "experiments": self.names,
            "set": self.original,
            "original": rates(self.original),
            "copies": [
                {
                    "degradation": copy.title,
                    "family": copy.family,
                    "scores": copy.name,
                    "eer_percent": self.eer(copy.name),
                    "change": None if not self.rates(copy.name) else self._change(copy.name),
                    "runs": rates(copy.name),
                }
                for copy in self.copies
            ],
            "families": [
                {
                    "family": of.name,
                    "copies": len(of.copies),
                    "mean_eer_percent": of.mean.eer,
                    "change": of.change,
                    "worst": of.worst.title,
                    "worst_eer_percent": self.eer(of.worst.name),
                }
                for of in self.families()
            ],
        }

    def _change(self, name: str) -> float:
        return self.eer(name) - self.eer(self.original)


def of_experiments(
    folders: list, original: str, copies: list[Copy], complete: bool = True
) -> tuple[list[Robustness], list[str]]:
    """Measure experiments by their score files, DIR/scores/SET.txt and DIR/robustness/COPY.txt.

    Args:
        folders: of experiments; those that differ in their seed alone are one system.
        original: name of the set.
        copies: its copies.
        complete: refuse where the scores of a copy are missing; else it goes without.

    Returns:
        systems, and sentences that say why not all experiments are one.

    Raises:
        AsvtkError: scores are missing, hold one class only, or are not of the same trials.
    """
    measured = {}
    for folder in map(Path, folders):
        dev = _read(folder / "scores" / "dev.txt")
        threshold = operating_point(det_curve(*_classes(dev)), "eer")["threshold"]
        first, scores = folder / "scores" / f"{original}.txt", folder / "robustness"
        measured[str(folder)] = measure(first, scores, copies, original, threshold, complete)
    seeds = seed_groups({name: name for name in measured})
    systems = [
        Robustness(names, original, copies, [measured[name] for name in names]) for names in seeds.together()
    ]
    return systems, seeds.reasons if len(systems) > 1 else []


def measure(
    first, folder, copies: list[Copy], original: str, threshold: float | None, complete: bool = True
) -> dict[str, Rates]:
    """Error rates of one run on a set and its copies.

    Args:
        first: scores of the original, with keys.
        folder: of the copies' score files.
        copies: the copies.
        original: what to call the first one.
        threshold: at which bona fide is rejected and spoofs are accepted; None: there is none.
        complete: see `of_experiments`.

    Raises:
        AsvtkError: see `of_experiments`.
    """
    scores = _read(Path(first))
    rates = {original: _rates(scores, threshold)}
    for copy in copies:
        path = Path(folder) / f"{copy.name}.txt"
        if not complete and not path.exists():
            continue
        table = _read(path)
        keep = np.isin(scores.utterances, table.utterances)
        if missing := int((~keep).sum()):
            if complete or not keep.any():  # it is none of a grid's copies: another set's scores
                label(table, scores)
            table = label(table, scores, keep)
        else:
            table = label(table, scores)
        rates[copy.name] = _rates(table, threshold)._replace(missing=missing)
    if len(rates) == 1:
        raise AsvtkError(f"{folder}: no scores of {copies[0].name} or any other copy; score the copies first")
    return rates


def tables(systems: list[Robustness], reasons: list[str]) -> str:
    """Markdown: for each system its families, and all copies with means ± standard deviations over seeds."""
    parts = []
    for system in systems:
        if len(systems) > 1:
            parts.append(f"## {plain_text(', '.join(system.names))}")
        if families := system.families():
            rows = [
                (of.name, len(of.copies), f"{of.mean.eer:.2f}", f"{of.change:+.2f}")
                + (of.worst.title, f"{system.eer(of.worst.name):.2f}")
                for of in families
            ]
            parts.append(table(_SUMMARY, rows))
        parts.append(table(_HEADER, _rows(system)))
        parts += [f"- {plain_text(line)}" for line in summary_lines(system)]
    return "\n\n".join([*parts, *map(plain_text, reasons)])


def summary_lines(system: Robustness) -> list[str]:
    """What is not to be seen in the numbers: copies without scores, or without some of the utterances."""
    lines = []
    for copy in system.copies:
        found = system.rates(copy.name)
        if not found:
            lines.append(f"{copy.title}: has no scores; it could not be made or scored")
        elif missing := max(of.missing for of in found):
            lines.append(f"{copy.title}: {missing} utterances have no score, and are left out of its rates")
    return lines


def _rows(system: Robustness) -> list:
    rows, begun = [_row(system, system.original, system.original)], set()
    families = {of.name: of for of in system.families()}
    for copy in system.copies:
        of = families.get(copy.family)
        if of is not None and of.name not in begun:
            begun.add(of.name)
            rates = ["–" if x is None else f"{x:.2f}" for x in (of.mean.frr, of.mean.far)]
            title = f"{of.name}: mean of {len(of.copies)}"
            rows.append([title, f"{of.mean.eer:.2f}", f"{of.change:+.2f}", *rates])
        rows.append(_row(system, copy.name, f"· {copy.title}" if of else copy.title))
    return rows


def _row(system: Robustness, name: str, title: str) -> list:
    found, first = system.rates(name), system.rates(system.original)
    if not found:
        return [title, "–", "–", "–", "–"]
    changes = [of.eer - base.eer for of, base in zip(found, first, strict=True)]
    change = "–" if name == system.original else f"{mean(changes):+.2f}"
    columns = [mean_sd([of[place] for of in found]) for place in range(3)]
    return [title, columns[0], change, *columns[1:]]


def _rates(scores: ScoreTable, threshold: float | None) -> Rates:
    classes = _classes(scores)
    eer = 100 * compute_eer(*classes)[0]
    if threshold is None:
        return Rates(eer, None, None)
    at = errors_at(*classes, threshold)
    return Rates(eer, 100 * at["frr"], 100 * at["far"])


def _read(path: Path) -> ScoreTable:
    if not path.exists():
        raise AsvtkError(f"{path}: no such scores; run stage 4 and local/robustness.sh first")
    return read_scores(path)


def _classes(scores: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    if scores.bonafide is None:
        raise AsvtkError(f"{scores.source}: holds no keys; run stage 4 again")
    return scores.scores[scores.bonafide], scores.scores[~scores.bonafide]
