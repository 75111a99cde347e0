"""Specialisation of experts: do they divide the attacks among them? Numbers that can say no.

The claim "expert 1 handles TTS" means that the attack tells which experts its frames are sent to. How
much it tells is the mutual information of expert and attack; how much of that is chance is what is left
of it when labels are drawn at random. Utterances, not frames, are drawn: the frames of an utterance have
its speaker, text and noise in common.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Dependence", "RoutingByGroup", "kind_dependence", "routing_by_group", "unused_experts"]

RESAMPLES = 1000
#: an expert with less than this part of an even share is called unused; as training warns
_UNUSED = 0.1


class Dependence(NamedTuple):
    """Normalised mutual information of the expert chosen and a label of the utterance.

    1 is the most there could be: I / min(H(label), H(expert) - log(experts per frame)). With two
    experts per frame, no label can tell more than which two.
    """

    information: float  # in [0, 1]
    chance: float  # mean when labels are drawn at random; few utterances look dependent by chance
    chance_95: float  # what chance stays below in 95 of 100 draws
    p_value: float  # share of the draws that are as dependent (Davison and Hinkley 1997, eq. 4.11)


class RoutingByGroup(NamedTuple):
    """Where the frames of each group of utterances are sent; rows are groups."""

    load: np.ndarray  # (groups, experts), rows sum to 1
    distance: np.ndarray  # (groups,), total variation from the load of all utterances, in [0, 1]
    distance_95: np.ndarray  # (groups,), what random groups of this size stay below in 95 of 100 draws
    dependence: Dependence  # of expert and group


def routing_by_group(
    load: np.ndarray, groups: np.ndarray, top_k: int, seed: int = 0, resamples: int = RESAMPLES
) -> RoutingByGroup:
    """Compare the groups' loads with those of groups drawn at random.

    Args:
        load: share of each utterance's choices that falls on each expert, (utterances, experts).
        groups: number of each utterance's group, (utterances,), 0 ... n - 1, none of them empty.
        top_k: experts per frame.
        seed: of the draws.
        resamples: number of draws.
    """
    sizes = np.bincount(groups)
    ends = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)

    def means(order: np.ndarray) -> np.ndarray:
        return np.add.reduceat(load[order], ends, axis=0) / sizes[:, None]

    pooled, shares = load.mean(axis=0), sizes / sizes.sum()
    observed = means(np.argsort(groups, kind="stable"))
    drawn = np.stack([means(rng.permutation(len(groups))) for _ in range(resamples)])
    return RoutingByGroup(
        observed,
        _distance(observed, pooled),
        np.quantile(_distance(drawn, pooled), 0.95, axis=0),
        _compare(observed, drawn, shares, top_k),
    )


def kind_dependence(
    load: np.ndarray, sizes: np.ndarray, kinds: np.ndarray, top_k: int, seed: int = 0
) -> Dependence | None:
    """Does the kind of attack (TTS, VC ...) tell more than a division of the attacks at random would?

    Kinds are properties of attacks, so it is attacks that are drawn: two attacks that differ make any
    two kinds differ that they are put in.

    Args:
        load: mean load of each attack, (attacks, experts).
        sizes: utterances of each attack, (attacks,).
        kinds: number of each attack's kind, (attacks,).
        top_k: experts per frame.
        seed: of the draws.

    Returns:
        None where there is nothing to compare: one kind, or a kind for every attack.
    """
    if not 1 < len(np.unique(kinds)) < len(kinds):
        return None
    rng = np.random.default_rng(seed)

    def information(kinds: np.ndarray) -> float:
        members = np.eye(kinds.max() + 1)[kinds].T * sizes  # (kinds, attacks)
        of_kind = members.sum(axis=1)
        of_kind_load = members @ load / of_kind[:, None]
        return _normalised(of_kind_load, of_kind / of_kind.sum(), top_k)

    _, kinds = np.unique(kinds, return_inverse=True)
    drawn = np.array([information(rng.permutation(kinds)) for _ in range(RESAMPLES)])
    return _dependence(information(kinds), drawn)


def unused_experts(load: np.ndarray) -> list[int]:
    """Experts that hardly any frame is sent to, counted from 0; ``load``: mean of all utterances."""
    return np.flatnonzero(load < _UNUSED / len(load)).tolist()


def _compare(observed: np.ndarray, drawn: np.ndarray, shares: np.ndarray, top_k: int) -> Dependence:
    return _dependence(_normalised(observed, shares, top_k), _normalised(drawn, shares, top_k))


def _dependence(observed: float, drawn: np.ndarray) -> Dependence:
    # Draws that are the same division in another order may differ in their last digits.
    as_much = int(np.count_nonzero(drawn >= observed - 1e-12))
    return Dependence(
        float(observed),
        float(drawn.mean()),
        float(np.quantile(drawn, 0.95)),
        (1 + as_much) / (1 + len(drawn)),
    )


def _normalised(load: np.ndarray, shares: np.ndarray, top_k: int):
    """Normalised information of (..., groups, experts), whose groups have these shares (groups,)."""
    pooled = shares @ load
    most = np.minimum(_entropy(shares), _entropy(pooled) - np.log(top_k))
    information = _entropy(pooled) - (shares * _entropy(load)).sum(axis=-1)
    # Where experts are as many as chosen, or one group has all utterances, there is nothing to tell.
    return np.where(most > 1e-9, np.clip(information / np.maximum(most, 1e-9), 0, 1), 0.0)


def _entropy(shares: np.ndarray) -> np.ndarray:
    """In nats, along the last axis."""
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=-1)


def _distance(load: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    return np.abs(load - pooled).sum(axis=-1) / 2
