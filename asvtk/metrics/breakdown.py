"""Breakdown of trials into the rows of a table: per attack, per kind of attack, per speaker ..."""

from typing import NamedTuple

import numpy as np

from asvtk.io.factors import factorize

__all__ = ["Group", "by_attack", "by_attack_group", "by_column", "factorize", "tells_of_spoofs_only"]

#: what keys write for bona fide speech in a column that tells of spoofs
_NO_VALUE = {"-", "bonafide", "bona-fide"}


class Group(NamedTuple):
    """The trials that one row of a table compares: their places, int (m,), rising.

    Spoofs differ by attack, bona fide speech does not: so a group of attacks is set against **all**
    bona fide trials, as the official per-attack EER is.
    """

    bonafide: np.ndarray
    spoof: np.ndarray


def by_attack(attacks: np.ndarray, bonafide: np.ndarray) -> dict:
    """``{attack id: Group}`` in the order of the ids; spoofs without an id (``-``) are in none.

    Args:
        attacks: strings (n,). bonafide: bool (n,).
    """
    names, codes = factorize(attacks)
    genuine, spoofs = np.flatnonzero(bonafide), _places(codes, ~bonafide, len(names))
    return {
        name: Group(genuine, places)
        for name, places in zip(names, spoofs, strict=True)
        if name != "-" and places.size
    }


def by_attack_group(per_attack: dict, members: dict) -> dict:
    """Merge groups of `by_attack` as ``members`` says, ``{name: attack ids}``; names without trials drop."""
    merged = {}
    for name, attacks in members.items():
        parts = [per_attack[attack] for attack in attacks if attack in per_attack]
        if parts:
            merged[name] = Group(parts[0].bonafide, np.sort(np.concatenate([part.spoof for part in parts])))
    return merged


def by_column(values: np.ndarray, bonafide: np.ndarray) -> dict:
    """``{value: Group}`` for any column of a trial table, in the order of the values.

    A value that both classes have (a speaker, a codec) restricts both. A column that tells of spoofs only
    (a vocoder, see `tells_of_spoofs_only`) has its groups set against all bona fide trials.

    Args:
        values: strings (n,). bonafide: bool (n,).
    """
    names, codes = factorize(values)
    genuine, spoofs = (_places(codes, of_class, len(names)) for of_class in (bonafide, ~bonafide))
    pairs = list(zip(names, genuine, spoofs, strict=True))
    sizes = ([places.size for places in of_class] for of_class in (genuine, spoofs))
    if not tells_of_spoofs_only(names, *sizes):
        return {name: Group(*places) for name, *places in pairs}
    everyone = np.flatnonzero(bonafide)
    return {name: Group(everyone, spoof) for name, _, spoof in pairs if spoof.size}


def tells_of_spoofs_only(names: list, n_bonafide, n_spoof) -> bool:
    """Is a column a property of spoofs: do bona fide trials share no value with them, or have none (``-``)?

    Args:
        names: its values. n_bonafide, n_spoof: how many trials of each class have each value.
    """
    sizes = list(zip(names, n_bonafide, n_spoof, strict=True))
    return {name for name, genuine, _ in sizes if genuine} <= _NO_VALUE or not any(
        genuine and spoofed for _, genuine, spoofed in sizes
    )


def _places(codes: np.ndarray, chosen: np.ndarray, n: int) -> list[np.ndarray]:
    """For each code below ``n`` the places, rising, of the ``chosen`` trials, bool (n,), that have it."""
    places = np.flatnonzero(chosen)
    of_place = codes[places]
    if n <= 1 << 16:  # of so short numbers the sort is a quick one
        of_place = of_place.astype(np.uint16)
    places = places[np.argsort(of_place, kind="stable")]
    ends = np.concatenate([[0], np.cumsum(np.bincount(of_place, minlength=n))])
    return [places[start:end] for start, end in zip(ends, ends[1:], strict=False)]
