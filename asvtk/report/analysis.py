"""Numbers of an analysis: what a trained system listens to, and how it routes each attack.

`look_into` makes one object of a data set, as it stands in ``analysis.json``.
"""

from typing import NamedTuple

import numpy as np

from asvtk.report.analysis_probe import Gate, Observations, Routing
from asvtk.report.analysis_routing import kind_dependence, routing_by_group, unused_experts

__all__ = [
    "BONAFIDE_GROUP",
    "Groups",
    "group_utterances",
    "look_into",
    "principal_axes",
    "sentences",
]

BONAFIDE_GROUP = "bonafide"


class Groups(NamedTuple):
    """Utterances by attack; bona fide ones are group 0, attacks follow by kind and name."""

    names: list[str]  # (groups,)
    kinds: list[str | None]  # (groups,); None: bona fide, or the corpus does not say
    index: np.ndarray  # (utterances,), number of each utterance's group

    @property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.index, minlength=len(self.names))


def group_utterances(attacks: list[str], bonafide: np.ndarray, kinds: dict | None) -> Groups:
    """Sort utterances into groups.

    Args:
        attacks: attack of each utterance, or anything for bona fide ones.
        bonafide: True for bona fide utterances, (utterances,).
        kinds: ``{attack: kind}`` where the corpus says so.
    """
    kinds = kinds or {}
    order = sorted(
        {attack for attack, real in zip(attacks, bonafide, strict=True) if not real},
        key=lambda attack: (kinds.get(attack) or "", attack),
    )
    names = ([BONAFIDE_GROUP] if np.any(bonafide) else []) + order
    number = {name: i for i, name in enumerate(names)}
    index = [number[BONAFIDE_GROUP if real else a] for a, real in zip(attacks, bonafide, strict=True)]
    kind_of = [None if name == BONAFIDE_GROUP else kinds.get(name) for name in names]
    return Groups(names, kind_of, np.array(index))


def look_into(seen: Observations, groups: Groups) -> dict:
    """The numbers of one data set, as JSON can hold them."""
    axes = principal_axes(seen.embedding)
    return {
        "utterances": len(groups.index),
        "groups": {
            name: {"utterances": int(size), "kind": kind}
            for name, size, kind in zip(groups.names, groups.sizes, groups.kinds, strict=True)
        },
        "routing": {name: _routing(routing, groups) for name, routing in seen.routing.items()},
        "gates": {name: _gate(gate, groups) for name, gate in seen.gates.items()},
        "embedding": {
            "dimensions": seen.embedding.shape[1],
            "variance_of_principal_axes": axes.explained[:8].tolist(),
        },
    }


class PrincipalAxes(NamedTuple):
    """The plane in which vectors differ most."""

    places: np.ndarray  # (utterances, 2)
    explained: np.ndarray  # share of the variance that each axis holds, descending


def principal_axes(vectors: np.ndarray) -> PrincipalAxes:
    """Principal component analysis of (utterances, d); signs are such that the mean cube is positive."""
    centred = vectors.astype(float) - vectors.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(vectors))
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    places = centred @ axes[:, :2]
    places = places * np.where((places**3).sum(axis=0) < 0, -1, 1)
    return PrincipalAxes(places, variances / max(variances.sum(), 1e-30))


def sentences(name: str, analysis: dict) -> list[str]:
    """What the terminal says of one data set, about its routing."""
    lines = []
    for layer, routing in analysis["routing"].items():
        dependence = routing["dependence"]
        explained = [f"{label} {_in_words(value)}" for label, value in dependence.items() if value]
        lines.append(f"{name} {layer}: routing explained by {', '.join(explained) or 'nothing: one group'}")
        for expert in routing["unused"]:
            share = routing["load"][expert]
            lines.append(f"{name} {layer}: expert {expert} is hardly used ({share:.2%} of the load)")
    return lines


def _in_words(dependence: dict) -> str:
    """A `Dependence`, short."""
    form = "{information:.2%} (chance {chance:.2%}, up to {chance_95:.2%}; p = {p_value:.3f})"
    return form.format(**dependence)


def _routing(routing: Routing, groups: Groups) -> dict:
    """One layer of experts. What attacks and kinds tell is asked of the spoofed utterances alone."""
    by_group = routing_by_group(routing.load, groups.index, routing.top_k)
    attacks = [i for i, name in enumerate(groups.names) if name != BONAFIDE_GROUP]
    spoofed = np.isin(groups.index, attacks)
    experts, load = routing.load.shape[1], routing.load.mean(axis=0)
    dependence = {"attack": None, "kind": None, "bona fide or spoof": None}
    if len(attacks) > 1:
        _, of_attack = np.unique(groups.index[spoofed], return_inverse=True)
        told = routing_by_group(routing.load[spoofed], of_attack, routing.top_k)
        dependence["attack"] = told.dependence._asdict()
        kinds = np.array([groups.kinds[i] or "" for i in attacks])
        by_kind = kind_dependence(told.load, groups.sizes[attacks], kinds, routing.top_k)
        dependence["kind"] = by_kind._asdict() if by_kind else None
    if attacks and not spoofed.all():
        told = routing_by_group(routing.load, spoofed.astype(int), routing.top_k)
        dependence["bona fide or spoof"] = told.dependence._asdict()
    rows = zip(groups.names, by_group.load, by_group.distance, by_group.distance_95, strict=True)
    return {
        "experts": experts,
        "top_k": routing.top_k,
        "load": load.tolist(),
        "unused": unused_experts(load),
        "dependence": dependence,
        "by_group": {
            name: {"load": of.tolist(), "distance": float(far), "distance_95_by_chance": float(chance)}
            for name, of, far, chance in rows
        },
        "by_kind": _load_by_kind(routing.load, groups),
        "entropy": _summary(routing.entropy / np.log(experts), groups),
        "confidence": _summary(routing.confidence, groups),
    }


def _load_by_kind(load: np.ndarray, groups: Groups) -> dict:
    kinds = dict.fromkeys(kind for kind in groups.kinds if kind)
    member = {kind: [i for i, of in enumerate(groups.kinds) if of == kind] for kind in kinds}
    return {kind: load[np.isin(groups.index, of)].mean(axis=0).tolist() for kind, of in member.items()}


def _gate(gate: Gate, groups: Groups) -> dict:
    def of(members) -> dict:
        return {"mean": float(gate.mean[members].mean()), "spread": float(gate.spread[members].mean())}

    by_group = {name: of(groups.index == i) for i, name in enumerate(groups.names)}
    return {"share_of": gate.share_of, **of(slice(None)), "by_group": by_group}


def _summary(values: np.ndarray, groups: Groups) -> dict:
    """Mean and the middle 90 % of the utterances: of all, and of each group."""

    def of(values: np.ndarray) -> dict:
        low, high = np.quantile(values, (0.05, 0.95))
        return {"mean": float(values.mean()), "low": float(low), "high": float(high)}

    by_group = {name: of(values[groups.index == i]) for i, name in enumerate(groups.names)}
    return {**of(values), "by_group": by_group}
