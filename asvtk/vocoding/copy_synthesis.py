"""Vocoded data: further training spoofs, made of the bona fide speech of a corpus by copy synthesis.

Every bona fide utterance of a training set gets a partner that says the same words, is as long and as
loud, and differs by what a vocoder does to it; so neither words, speaker, length nor level tells the
two apart. After Wang & Yamagishi, "Spoofed training data for speech spoofing countermeasure can be
efficiently created using neural vocoders", ICASSP 2023, with the classic vocoders of
:mod:`asvtk.vocoding.vocoders`, which need no training.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from asvtk.corpora.derived import Clip, derive, evaluation_split
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.datadir import BONAFIDE, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.randomness import utterance_generator
from asvtk.vocoding.config import VocodedConfig
from asvtk.vocoding.vocoders import VOCODERS

__all__ = ["vocode_set"]

_ATTACK = "vocoded-"
#: how far the level of a clip may be from its source's, in dB
_TOLERANCE_DB = 0.1
#: samples that may touch the top near full scale, where those of the source do not
_TOUCHES = 4


def vocode_set(
    source: DataDirectory, config: VocodedConfig, out, jobs: int = 4, force: bool = False
) -> tuple[DataDirectory, dict[str, str]]:
    """Make the vocoded data of a training set, a data directory with ``utt2source``.

    An utterance's id is ``SOURCE-METHOD``, with ``-2`` ... for further copies, its attack
    ``vocoded-METHOD``. What it sounds like is a function of seed, utterance, method and copy alone.

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
    originals = _bona_fide(source)
    functions = {method: VOCODERS[method].function for method in config.names}
    rng = np.random.default_rng(0)
    for function in functions.values():  # what is missing shows now, and once
        function(0.1 * rng.standard_normal(1600), SAMPLE_RATE, rng)
    clips = [
        Clip(
            utterance=f"{utterance}-{method}" + (f"-{copy}" if copy > 1 else ""),
            sources=(utterance,),
            attack=_ATTACK + method,
            change=functools.partial(_make_spoof, functions[method], method, config.seed, utterance, copy),
            origin=utterance,
        )
        for utterance in originals
        for method in config.names
        for copy in range(1, config.copies + 1)
    ]
    kinds = {_ATTACK + method: VOCODERS[method].kind for method in config.names}
    return derive(source, Path(out), clips, config.describe(), kinds, jobs, force)


def _bona_fide(source: DataDirectory) -> list[str]:
    """The utterances of a training set that spoofs are made of.

    Raises:
        AsvtkError: it is no training set, or has none.
    """
    if split := evaluation_split(source):
        raise AsvtkError(
            f"{source.path}: is a {split} set; vocoding makes training spoofs, and results on sets with "
            "spoofs of one's own making mean nothing: name a training set"
        )
    originals = [utterance for utterance in source.utterances if source.label[utterance] == BONAFIDE]
    if not originals:
        raise AsvtkError(f"{source.path}: holds no bona fide speech to vocode")
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
        raise AsvtkError("is silent: there is nothing to vocode")
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
