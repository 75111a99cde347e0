"""Copies of a data set without a shortcut that a result must not rest on: level, silence, bandwidth.

A system that is as good on them as on the original did not learn that shortcut. They are for judging, so
nothing in them is random.
"""

import functools
from pathlib import Path

import numpy as np
import scipy

from asvtk.augment.levels import below_full_scale
from asvtk.corpora.derived import Clip, derive
from asvtk.corpora.shortcuts import sounding
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.tables import read_table

__all__ = ["PERTURBATIONS", "level", "lowpass", "perturb_set", "trim"]

#: raise it when a change of this file changes what is made
GENERATION = 1


def level(samples: np.ndarray, dbfs: float = -30.0) -> np.ndarray:
    """The same RMS for every clip, in dB below full scale; lower where peaks would pass full scale."""
    rms = np.sqrt(np.square(samples, dtype=np.float64).mean())
    return below_full_scale(samples * (10 ** (dbfs / 20) / rms)) if rms > 0 else samples


def trim(samples: np.ndarray, below: float = 40.0, frame: float = 0.02) -> np.ndarray:
    """Without the silence before and behind: frames (in s) so many dB below the loudest one.

    Pauses inside stay, and so does what is silent all through.
    """
    return samples[sounding(samples, below, round(frame * SAMPLE_RATE))]


def lowpass(samples: np.ndarray, edge: float = 7000.0) -> np.ndarray:
    """Nothing above ``edge`` Hz, and that in time with the input.

    A linear-phase filter of 255 taps, which is less than 0.1 dB down up to 120 Hz below the edge and 80 dB
    from 160 Hz above it.
    """
    taps = scipy.signal.firwin(255, edge, window=("kaiser", 8.0), fs=SAMPLE_RATE)
    return below_full_scale(scipy.signal.oaconvolve(samples, taps, mode="full")[127 : 127 + len(samples)])


#: name -> function of samples
PERTURBATIONS = {"level": level, "trim": trim, "lowpass": lowpass}


def perturb_set(
    source: DataDirectory, names: list[str], out, jobs: int = 4, force: bool = False
) -> DataDirectory:
    """Make the changed copy of a data set. Utterances keep their ids, so that their scores can be compared.

    Args:
        source: the data set.
        names: changes of :data:`PERTURBATIONS`, one after another.
        out: the data directory to write.
        jobs: number of processes.
        force: make it even if it is there.

    Raises:
        AsvtkError: an unknown change; audio that cannot be read, where all else is made; or see
            ``asvtk.corpora.derived.derive``.
    """
    if unknown := [name for name in names if name not in PERTURBATIONS]:
        raise AsvtkError(f"no change {listing(unknown)}; there are {listing(PERTURBATIONS)}")
    change = functools.partial(_apply, tuple(names))
    clips = [
        Clip(utterance, (utterance,), source.attack[utterance], change, source.source.get(utterance))
        for utterance in source.utterances
    ]
    legend = source.path / "attack2kind"
    kinds = read_table(legend) if legend.exists() else {}
    how = {"changes": list(names), "generation": GENERATION}
    data, faults = derive(source, Path(out), clips, how, kinds, jobs, force)
    if faults:
        raise AsvtkError(
            f"{out}/failed: {len(faults)} of {len(clips)} utterances could not be changed: "
            f"{listing(faults.values(), 3)}; all others are there: restore the audio and run it again"
        )
    return data


def _apply(names: tuple[str, ...], samples: np.ndarray) -> np.ndarray:
    for name in names:
        samples = PERTURBATIONS[name](samples)
    return samples
