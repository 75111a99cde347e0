"""Sampler of an epoch: which utterances it has, in which order, how classes are balanced or corpora mixed,
and how long the windows of its batches are."""

from collections import Counter, defaultdict

import numpy as np
import torch
from torch import Tensor

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError
from asvtk.training.sampling import Strata

__all__ = ["sample_epoch", "sample_windows"]


def sample_epoch(
    bonafide: Tensor,
    epoch_seed: int,
    balance: bool,
    made_of: Tensor | None = None,
    share: float | None = None,
    strata: Strata | None = None,
) -> list[int]:
    """The order of an epoch, a function of its seed alone, so that a resumed run draws the same.

    Args:
        bonafide: True for bona fide utterances, shape (utterances,).
        epoch_seed: seed of the epoch.
        balance: draw the rarer class again and again until both are equally frequent.
        made_of: of vocoded spoofs, the bona fide utterance they were made of; -1 for all
            others, -2 for those of which that is not in the set. Shape (utterances,).
        share: of the spoofs of an epoch that are vocoded ones; None: as many as there are. An epoch
            then has each of the other spoofs once, or as often as the balance asks for, and
            vocoded ones that are drawn anew. Each stands behind its source, so that one batch has
            both, but for those that its end parts.
        strata: of the set, which say how many utterances are drawn of which, instead of all of the above;
            see ``sampling.stratify``.

    Raises:
        AsvtkError: there is a share, but no vocoded spoof whose source is in the set.
    """
    generator = torch.Generator().manual_seed(epoch_seed)
    if strata is not None:
        drawn = _draw_strata(strata, generator)
        return drawn[torch.randperm(len(drawn), generator=generator)].tolist()
    if share is None and not balance:
        return torch.randperm(len(bonafide), generator=generator).tolist()
    # With a share, vocoded spoofs are no utterances of their own but go with others.
    spoof = ~bonafide if share is None else ~bonafide & (made_of == -1)
    groups = [group.nonzero().squeeze(1) for group in (bonafide, spoof)]
    sizes = [len(groups[0]), len(groups[1]) if share is None else round(len(groups[1]) / (1 - share))]
    if balance:
        sizes = [max(sizes)] * 2
    made = 0 if share is None else round(share * sizes[1])
    sizes[1] -= made
    drawn = torch.cat([_draw(group, size, generator) for group, size in zip(groups, sizes, strict=True)])
    together = [[utterance] for utterance in drawn.tolist()]
    if made:
        _put_beside_sources(together, made_of, made, generator)
    return [u for k in torch.randperm(len(together), generator=generator).tolist() for u in together[k]]


def sample_windows(shortest: float, longest: float, epoch_seed: int, batches: int) -> list[int]:
    """Length of the window that each batch of an epoch hears, a function of the epoch's seed alone.

    Args:
        shortest, longest: seconds; any length between them is as likely as another.
        epoch_seed: seed of the epoch.
        batches: how many it has.

    Returns:
        samples, one number a batch.
    """
    generator = np.random.default_rng((0, epoch_seed))  # utterances have (epoch_seed, index), and no epoch 0
    limits = round(shortest * SAMPLE_RATE), round(longest * SAMPLE_RATE)
    return generator.integers(*limits, size=batches, endpoint=True).tolist()


def _put_beside_sources(
    together: list[list[int]], made_of: Tensor, count: int, generator: torch.Generator
) -> None:
    """Append so many vocoded spoofs, each to a list that begins with its source.

    Sources are drawn as bona fide utterances are; the spoofs made of one equally often or once more.
    """
    places, copies, sources = defaultdict(list), defaultdict(list), made_of.tolist()
    for utterances in together:
        places[utterances[0]].append(utterances)
    made = (made_of >= 0).nonzero().squeeze(1)
    for utterance in made[torch.randperm(len(made), generator=generator)].tolist():
        copies[sources[utterance]].append(utterance)
    if not copies:
        raise AsvtkError(
            "vocoded.share: no vocoded spoof has its source in the training set; train with the "
            "set that they were made of"
        )
    turns = Counter()
    for source in _draw(torch.tensor(sorted(copies)), count, generator).tolist():
        turn = turns[source]
        places[source][turn % len(places[source])].append(copies[source][turn % len(copies[source])])
        turns[source] += 1


def _draw_strata(strata: Strata, generator: torch.Generator) -> Tensor:
    """Of each stratum as many utterances as its size, each equally often or once more: (sum of sizes,)."""
    members, lengths, sizes = map(torch.from_numpy, strata)
    # All strata at once, as there may be hundreds of thousands: a shuffle, sorted back by stratum.
    shuffled = torch.randperm(len(members), generator=generator)
    stratum = torch.repeat_interleave(lengths)
    shuffled = shuffled[torch.argsort(stratum[shuffled], stable=True)]
    rank = torch.arange(len(members)) - (lengths.cumsum(0) - lengths)[stratum]
    times = (sizes // lengths)[stratum] + (rank < (sizes % lengths)[stratum])
    return torch.repeat_interleave(members[shuffled], times)


def _draw(members: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """So many of ``members``, each equally often or once more: (members,) -> (size,)."""
    rounds = [
        members[torch.randperm(len(members), generator=generator)] for _ in range(-(-size // len(members)))
    ]
    return torch.cat(rounds)[:size]
