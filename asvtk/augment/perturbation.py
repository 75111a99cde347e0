"""Degraded copies of a data set: to see whether a result rests on a shortcut, or ends with a codec or noise.

A system that is as good on a copy as on the original does not need what the copy lacks. Copies are for
judging: what is random in a clip is a function of its utterance, the degradation's name and a seed.
"""

import functools
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.augment.degradations import Degradation, level, lowpass, trim
from asvtk.augment.grid import Cell, chain
from asvtk.corpora.derived import Clip, derive
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.randomness import utterance_generator
from asvtk.io.tables import read_table

__all__ = [
    "MadeCell",
    "copy_folder",
    "degrade",
    "level",
    "lowpass",
    "perturb_grid",
    "perturb_set",
    "trim",
]

_log = logging.getLogger(__name__)

#: raise it when a change of the code changes what is made
GENERATION = 1


class MadeCell(NamedTuple):
    """What became of a cell of a grid."""

    cell: Cell
    path: Path  # of the data directory
    fault: str  # why it, or some of its utterances, could not be made; empty: all are there


def degrade(samples: np.ndarray, how: tuple[Degradation, ...], utterance: str, seed: int = 1) -> np.ndarray:
    """Speech through degradations, one after the other.

    Args:
        samples: 16 kHz, full scale at 1, (samples,).
        how: the degradations.
        utterance: its id.
        seed: of all that is random.

    Returns:
        float (samples,), with a peak of at most 1; only ``trim`` makes it shorter.

    Raises:
        AsvtkError: there are no samples, or a codec refuses its setting.
    """
    for place, of in enumerate(how):
        before = sum(other.text == of.text for other in how[:place])
        samples = of(samples, utterance_generator(seed, f"{of.text} {utterance}", before))
    return samples


def perturb_set(
    source: DataDirectory, names: list[str], out, jobs: int = 4, force: bool = False, seed: int = 1
) -> DataDirectory:
    """Make the degraded copy of a data set. Utterances keep their ids, so that their scores can be compared.

    Args:
        source: the data set.
        names: degradations, one after another, see `asvtk.augment.degradations.parse_degradation`.
        out: the data directory to write.
        jobs: number of processes; what is made does not depend on it.
        force: make it even if it is there.
        seed: of all that is random.

    Raises:
        AsvtkError: an unknown degradation, or a codec that is not here; audio that cannot be read, where all
            else is made; or see ``asvtk.corpora.derived.derive``.
    """
    cell = chain(names)
    for of in cell.how:
        of.require()
    clips = [
        Clip(
            utterance,
            (utterance,),
            source.attack[utterance],
            functools.partial(degrade, how=cell.how, utterance=utterance, seed=seed),
            source.source.get(utterance),
        )
        for utterance in source.utterances
    ]
    legend = source.path / "attack2kind"
    kinds = read_table(legend) if legend.exists() else {}
    description = {"changes": [of.text for of in cell.how], "generation": GENERATION}
    if any(of.random for of in cell.how):
        description["seed"] = seed
    data, faults = derive(source, Path(out), clips, description, kinds, jobs, force)
    if faults:
        raise AsvtkError(
            f"{out}/failed: {len(faults)} of {len(clips)} utterances could not be changed: "
            f"{listing(faults.values(), 3)}; all others are there: restore the audio and run it again"
        )
    return data


def perturb_grid(
    source: DataDirectory, cells: list[Cell], out, jobs: int = 4, force: bool = False, seed: int = 1
) -> list[MadeCell]:
    """Make a degraded copy for each cell of a grid; copies that are there are not made again.

    Args:
        source: the data set.
        cells: of `asvtk.augment.grid.read_grid`.
        out: folder of the data directories; see `copy_folder` for their names.
        jobs, force, seed: as for `perturb_set`.

    Returns:
        what became of each cell, in order. One that fails costs no other anything.
    """
    made = []
    with tqdm(total=len(cells), desc=f"{source.name}: copies", unit="copy", disable=None) as bar:
        for cell in cells:
            path, fault = copy_folder(out, source, cell), ""
            try:
                perturb_set(source, [of.text for of in cell.how], path, jobs, force, seed)
            except AsvtkError as error:
                fault = str(error)
                with tqdm.external_write_mode(sys.stderr):
                    _log.warning(fault)
            made.append(MadeCell(cell, path, fault))
            bar.update()
    return made


def copy_folder(out, source: DataDirectory, cell: Cell) -> Path:
    """The data directory of a cell: ``OUT/eval_mp3-32k``."""
    return Path(out) / f"{source.name}_{cell.name}"
