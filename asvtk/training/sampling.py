"""Stratified sampling of an epoch: shares of corpora, labels, attacks, speakers or any other column.

The levels of ``training.sampling`` are nested in their order. The utterances of an epoch are split among the
values of the first level, each part among the values that it has of the second, and so on; what the last one
leaves is a stratum, whose utterances are drawn equally often or once more.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from asvtk.io.datadir import LABELS, NO_ATTACK
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.text import parse_float

__all__ = ["Sampling", "Strata", "expected_counts", "stratify"]

_WHERE = "training.sampling"
_EQUAL = "equal"


@dataclass(frozen=True)
class Sampling:
    """Shares of an epoch; in YAML an ordered mapping, level -> ``equal``, {value: weight} or null.

    A level is ``corpus`` (the name of the data directory), ``label``, ``attack``, ``speaker`` or another
    column ``utt2NAME`` of the data directories. null: as many of each value as there are.
    """

    levels: tuple[tuple[str, str | None | tuple[tuple[str, float], ...]], ...]

    @classmethod
    def build(cls, content, where: str) -> "Sampling":
        if not isinstance(content, dict) or not content:
            raise AsvtkError(
                f"{where}: {content!r} does not fit; expected levels and their shares, such as "
                "{corpus: equal, label: equal}, or null"
            )
        for level in content:
            if not isinstance(level, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", level):
                raise AsvtkError(
                    f"{where}: {level!r} is no level; expected corpus, label, attack, speaker or the NAME of "
                    "a file utt2NAME"
                )
        return cls(tuple((level, _shares(of, f"{where}.{level}")) for level, of in content.items()))

    def describe(self) -> dict:
        return {level: dict(of) if isinstance(of, tuple) else of for level, of in self.levels}

    @property
    def names(self) -> list[str]:
        """Names of the levels, in order."""
        return [level for level, _ in self.levels]


def _shares(content, where: str) -> str | None | tuple[tuple[str, float], ...]:
    if content is None or content == _EQUAL:
        return content
    if not isinstance(content, dict) or not content:
        raise AsvtkError(
            f"{where}: {content!r} does not fit; expected equal, a weight for each value, such as "
            "{a: 2, b: 1}, or null"
        )
    weights = []
    for value, weight in content.items():
        if not isinstance(value, str):
            raise AsvtkError(
                f"{where}: YAML takes {value!r} for a number or a word of its own; write it in quotes, as in "
                "the data directory"
            )
        try:
            number = math.nan if isinstance(weight, bool) else parse_float(str(weight))
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise AsvtkError(f"{where}.{value}: {weight!r} does not fit; expected a weight, 0 or more")
        weights.append((value, number))
    if not any(weight for _, weight in weights):
        raise AsvtkError(f"{where}: all weights are 0; one must be more")
    return tuple(weights)


class Strata(NamedTuple):
    """Parts of a training set, and how many utterances of an epoch are of each."""

    members: np.ndarray  # numbers of the utterances, stratum after stratum, int64 (n,)
    lengths: np.ndarray  # how many of these each stratum has, int64 (strata,)
    sizes: np.ndarray  # how many utterances of an epoch are of it, 1 or more, int64 (strata,)


def stratify(sampling: Sampling, column: Callable[[str], list[str]]) -> Strata:
    """Strata of a training set.

    An epoch has as many utterances as the set has, without those that a weight of 0 leaves out. Shares are
    rounded by largest remainders, level by level, so that they sum to that number; of equal remainders that
    of the value that sorts first is rounded up.

    Args:
        sampling: the shares.
        column: gives by its name the value of each utterance.

    Raises:
        AsvtkError: a weight is of a value that no utterance has; a value has no weight; the weights of all
            values of a part are 0; or a class is left out. A part of nothing but bona fide speech needs no
            weight of the attack ``-``.
    """
    levels = [_Level(name, shares, column(name)) for name, shares in sampling.levels]
    kept = np.arange(len(levels[0].codes))
    part = np.zeros(len(kept), np.int64)  # of the utterances kept, which part of the level above they are in
    tree = []  # of each level: the part above of each of its parts, and their weights
    for number, level in enumerate(levels):
        parts, part_of = np.unique(part * len(level.values) + level.codes[kept], return_inverse=True)
        above, values = np.divmod(parts, len(level.values))
        weights = level.weigh(above, values)
        if weights is not None:
            stay = weights > 0
            lost = np.setdiff1d(above, above[stay])
            if lost.size:
                names = _values_of(kept[np.flatnonzero(part == lost[0])[0]], levels[:number])
                raise AsvtkError(
                    f"{_WHERE}.{level.name}: the weights of all values of {names} are 0; to leave that out, "
                    "give it the weight 0 at its own level"
                )
            left = stay[part_of]
            kept, part_of = kept[left], (np.cumsum(stay) - 1)[part_of[left]]
            above, weights = above[stay], weights[stay]
        tree.append((above, weights))
        part = part_of
    _require_both_classes(kept, column)
    counts = np.bincount(part)
    lengths, filled = counts, []
    for above, weights in reversed(tree):  # null: as many as there are
        filled.append((above, counts if weights is None else weights))
        counts = np.bincount(above, counts).astype(np.int64)
    sizes = np.array([len(kept)])
    for above, weights in reversed(filled):
        sizes = _apportion(sizes, above, weights)
    drawn = sizes > 0
    members = kept[np.argsort(part, kind="stable")]
    return Strata(members[np.repeat(drawn, lengths)], lengths[drawn], sizes[drawn])


def expected_counts(strata: Strata, *columns: list[str]) -> dict[tuple, float]:
    """How many utterances of an epoch have each combination of values, as a mean over epochs.

    Args:
        strata: of the training set.
        columns: the value of each utterance.
    """
    keys = list(zip(*columns, strict=True))
    order = sorted(set(keys))
    place = {key: number for number, key in enumerate(order)}
    codes = np.fromiter((place[key] for key in keys), np.int64, len(keys))
    times = np.repeat(strata.sizes / strata.lengths, strata.lengths)
    return dict(zip(order, np.bincount(codes[strata.members], times, len(order)).tolist(), strict=True))


class _Level:
    """One level: its values, as numbers in sorted order, and their shares."""

    def __init__(self, name: str, shares, column: list[str]):
        self.name, self.values = name, sorted(set(column))
        place = {value: number for number, value in enumerate(self.values)}
        self.codes = np.fromiter((place[value] for value in column), np.int64, len(column))
        self._equal, self._weights = shares == _EQUAL, None
        if isinstance(shares, tuple):
            if unknown := [value for value, _ in shares if value not in place]:
                raise AsvtkError(
                    f"{_WHERE}.{name}: no utterance has {listing(unknown)}; there are {listing(self.values)}"
                )
            self._weights = np.full(len(self.values), -1)
            self._weights[[place[value] for value, _ in shares]] = _whole_numbers(name, shares, len(column))

    def weigh(self, above: np.ndarray, values: np.ndarray) -> np.ndarray | None:
        """Weights of parts, whole numbers; None: as many as there are.

        Args:
            above: which part of the level above each is in, ascending.
            values: the value of each.
        """
        if self._weights is None:
            return np.ones(len(values), np.int64) if self._equal else None
        weights = self._weights[values]
        if NO_ATTACK in self.values:
            alone = np.bincount(above)[above] == 1
            weights[alone & (values == self.values.index(NO_ATTACK))] = 1
        if (weights < 0).any():
            lacking = [self.values[number] for number in np.unique(values[weights < 0])]
            raise AsvtkError(
                f"{_WHERE}.{self.name}: no weight for {listing(lacking)}; give each value one, "
                "0 leaves it out"
            )
        return weights


def _whole_numbers(name: str, shares, utterances: int) -> list[int]:
    """Weights in the same proportions; products with as many utterances must fit 63 bits."""
    fractions = [Fraction(repr(weight)) for _, weight in shares]  # 0.1 is a tenth, not the nearest double
    scale = math.lcm(*(fraction.denominator for fraction in fractions))
    numbers = [int(fraction * scale) for fraction in fractions]
    shrink = math.gcd(*numbers)
    numbers = [number // shrink for number in numbers]
    if sum(numbers) * utterances >= 1 << 62:
        raise AsvtkError(
            f"{_WHERE}.{name}: the weights {listing(weight for _, weight in shares)} have too many digits; "
            "write them as small whole numbers"
        )
    return numbers


def _apportion(sizes: np.ndarray, above: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Split each size among its parts by largest remainders (Hamilton's method).

    Args:
        sizes: whole numbers (n,).
        above: which of them each part is of, ascending (parts,).
        weights: whole numbers (parts,), of each size not all 0.

    Returns:
        whole numbers (parts,) that sum to the sizes.
    """
    totals = np.zeros(len(sizes), np.int64)
    np.add.at(totals, above, weights)
    split, remainders = np.divmod(sizes[above] * weights, totals[above])
    given = np.zeros(len(sizes), np.int64)
    np.add.at(given, above, split)
    order = np.lexsort((-remainders, above))  # a stable sort: of equal ones the first comes first
    begins = np.searchsorted(above, np.arange(len(sizes)))
    rank = np.empty(len(above), np.int64)
    rank[order] = np.arange(len(above)) - begins[above]
    return split + (rank < (sizes - given)[above])


def _values_of(utterance: int, levels: list[_Level]) -> str:
    """What tells the part that an utterance is in from others, in words."""
    values = (f"{level.name} {level.values[level.codes[utterance]]}" for level in levels)
    return ", ".join(values) or "the set"


def _require_both_classes(kept: np.ndarray, column: Callable[[str], list[str]]) -> None:
    labels = column("label")
    there = {labels[utterance] for utterance in kept.tolist()}
    if missing := [label for label in LABELS if label not in there]:
        raise AsvtkError(f"{_WHERE}: leaves nothing that is {missing[0]}; training needs both classes")
