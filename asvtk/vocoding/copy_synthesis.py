"""More training spoofs from the bona fide speech of any corpus: the ``resynthesis`` section.

Every bona fide utterance of a training set gets a partner that says the same words, is as long and as
loud, and differs by what a vocoder does to it; so neither words, speaker, length nor level tells the
two apart. After Wang & Yamagishi, "Spoofed training data for speech spoofing countermeasure can be
efficiently created using neural vocoders", ICASSP 2023, with the classic vocoders of
:mod:`asvtk.vocoding.vocoders`, which need no training.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from asvtk.corpora.derived import Clip, derive, evaluation_split
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.datadir import BONAFIDE, DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.randomness import utterance_generator
from asvtk.io.stamps import digest
from asvtk.vocoding.vocoders import RESYNTHESES

__all__ = ["ResynthesisConfig", "bona_fide", "resynthesise_set"]

#: raise it when a change of the vocoders changes what they make
GENERATION = 4
_ATTACK = "resynth-"
#: how far the level of a clip may be from its source's, in dB
_TOLERANCE_DB = 0.1
#: samples that may touch the top near full scale, where those of the source do not
_TOUCHES = 4


@dataclass(frozen=True)
class ResynthesisConfig:
    """Which spoofs are made of the bona fide training utterances, and how often training draws them."""

    methods: Literal["all"] | tuple[str, ...] = "all"
    copies: int = 1  # of each utterance by each method; they differ where a method is random
    share: float | None = None  # of the spoofs of an epoch; null: each is drawn as often as any other
    seed: int = 1

    def __post_init__(self):
        if self.copies < 1:
            raise ValueError("copies must be at least 1; leave the section out for no resynthesis")
        if self.share is not None and not 0 < self.share < 1:
            raise ValueError("share must lie between 0 and 1, or be null")
        unknown = [name for name in self.names if name not in RESYNTHESES]
        if unknown or not self.names:
            known = listing(RESYNTHESES, limit=99)
            raise ValueError(f"methods: {listing(unknown) or 'none'}; there are {known}")
        if len(set(self.names)) < len(self.names):
            raise ValueError("methods: one stands there twice")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(RESYNTHESES) if self.methods == "all" else self.methods

    def describe(self) -> dict:
        """All that the clips depend on besides their source."""
        return {
            "methods": sorted(self.names),
            "copies": self.copies,
            "seed": self.seed,
            "generation": GENERATION,
        }

    def set_name(self, training_set: str) -> str:
        """What the data directory of the spoofs is called."""
        return f"{training_set}_resynth-{digest(self.describe())[:12]}"


def resynthesise_set(
    source: DataDirectory, config: ResynthesisConfig, out, jobs: int = 4, force: bool = False
) -> tuple[DataDirectory, dict[str, str]]:
    """Make the spoofs of a training set, as a data directory of their own.

    An utterance's id is ``SOURCE-METHOD``, with ``-2`` ... for further copies, its attack
    ``resynth-METHOD``. What it sounds like is a function of seed, utterance, method and copy alone.

    Args:
        source: the training set.
        config: what to make.
        out: the data directory to write; see ``asvtk.corpora.derived.derive``, also for what is returned.
        jobs: number of processes.
        force: make it even if it is there.

    Raises:
        AsvtkError: the set is no training set or has no bona fide speech, a package is missing, or see
            ``derive``.
    """
    originals = bona_fide(source)
    functions = {method: RESYNTHESES[method].function for method in config.names}
    rng = np.random.default_rng(0)
    for function in functions.values():  # what is missing shows now, and once
        function(0.1 * rng.standard_normal(1600), SAMPLE_RATE, rng)
    clips = [
        Clip(
            utterance=f"{utterance}-{method}" + (f"-{copy}" if copy > 1 else ""),
            source=utterance,
            attack=_ATTACK + method,
            change=functools.partial(_make_spoof, functions[method], method, config.seed, utterance, copy),
        )
        for utterance in originals
        for method in config.names
        for copy in range(1, config.copies + 1)
    ]
    kinds = {_ATTACK + method: RESYNTHESES[method].kind for method in config.names}
    return derive(source, Path(out), clips, config.describe(), kinds, jobs, force)


def bona_fide(source: DataDirectory) -> list[str]:
    """The utterances of a training set that spoofs are made of.

    Raises:
        AsvtkError: it is no training set, or has none.
    """
    if split := evaluation_split(source):
        raise AsvtkError(
            f"{source.path}: is a {split} set; resynthesis makes training spoofs, and results on sets with "
            "spoofs of one's own making mean nothing: name a training set"
        )
    originals = [utterance for utterance in source.utterances if source.label[utterance] == BONAFIDE]
    if not originals:
        raise AsvtkError(f"{source.path}: holds no bona fide speech to resynthesise")
    return originals


def _make_spoof(
    function: Callable, method: str, seed: int, utterance: str, copy: int, samples: np.ndarray
) -> np.ndarray:
    """
    Raises:
        AsvtkError: the clip is silent, comes out as it went in, not as long and loud, or with peaks cut
            off: it would teach something else than what a vocoder does.
    """
    if not samples.any():
        raise AsvtkError("is silent: there is nothing to resynthesise")
    made = function(samples, SAMPLE_RATE, utterance_generator(seed, f"{utterance} {method}", copy))
    if len(made) != len(samples):
        raise AsvtkError(f"{method} made {len(made)} samples of {len(samples)}")
    if np.abs(made - samples).max() < 1 / 32768:
        raise AsvtkError(f"{method} left it as it is")
    levels = [np.square(x, dtype=np.float64).mean() for x in (made, samples)]
    change = 10 * abs(np.log10(max(levels[0], 1e-30) / levels[1]))
    if change > _TOLERANCE_DB:
        raise AsvtkError(f"{method} changed its level by {change:.2f} dB")
    if _touches(made) > max(_TOUCHES, _touches(samples)):
        raise AsvtkError(f"{method} makes it so peaky that its peaks had to be cut off")
    return made


def _touches(samples: np.ndarray) -> int:
    """How many samples lie at the clip's peak, if that is about full scale: many where peaks were cut."""
    size = np.abs(samples)
    peak = size.max()
    return int(np.sum(size >= 0.999 * peak)) if peak >= 0.98 else 0
