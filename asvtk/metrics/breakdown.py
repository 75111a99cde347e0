"""Breakdown of trials into the rows of a table: per attack, per kind of attack, per speaker ..."""

from typing import NamedTuple

import numpy as np

__all__ = ["Group", "by_attack", "by_attack_group", "by_column", "factorize"]


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

    A value that both classes have (a speaker, a codec) restricts both. When bona fide and spoofed
    trials share no value, the column tells of spoofs only (a vocoder), and its groups are set
    against all bona fide trials.

    Args:
        values: strings (n,). bonafide: bool (n,).
    """
    names, codes = factorize(values)
    genuine, spoofs = (_places(codes, of_class, len(names)) for of_class in (bonafide, ~bonafide))
    pairs = list(zip(names, genuine, spoofs, strict=True))
    if any(of_both.size and spoof.size for _, of_both, spoof in pairs):
        return {name: Group(*places) for name, *places in pairs}
    everyone = np.flatnonzero(bonafide)
    return {name: Group(everyone, spoof) for name, none, spoof in pairs if not none.size}


def _places(codes: np.ndarray, chosen: np.ndarray, n: int) -> list[np.ndarray]:
    """For each code below ``n`` the places, rising, of the ``chosen`` trials, bool (n,), that have it."""
    places = np.flatnonzero(chosen)
    places = places[np.argsort(codes[places], kind="stable")]
    ends = np.searchsorted(codes[places], np.arange(n + 1))
    return [places[start:end] for start, end in zip(ends, ends[1:], strict=False)]


def factorize(strings: np.ndarray):
    """Number the different strings of an array.

    Args:
        strings: (n,), few different ones.

    Returns:
        names, sorted: list of str; and codes, int (n,), with ``names[codes[i]] == strings[i]``.
    """
    values = strings.tolist()
    names = sorted(set(values))
    code_of = {name: code for code, name in enumerate(names)}
    return names, np.fromiter(map(code_of.__getitem__, values), np.intp, len(values))
